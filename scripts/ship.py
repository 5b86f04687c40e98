"""Makes a trained run one of the models that come with Sumi: python -m scripts.ship RUN NAME --makes … --licence …

Writes sumi/pretrained/NAME: the averaged weights in half precision, the training log, a sheet of samples and a card.
For a model with prompts, prompts.txt is what the sheet shows. `benchmarks/pretrained.py` measures the card's figures.
"""

import argparse
import json
import platform
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from sumi.boundary.config import describe, to_json
from sumi.boundary.settings import override
from sumi.data.files import Writing
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.models.run import load, read_run
from sumi.pretrained.shipped import CARD, PLACE, PROMPTS, SHEET, Card
from sumi.training.metrics_log import read
from sumi.training.run_folder import RunFolder


def draw_sheet(model: DiffusionModel, prompts: list[str] | None, folder: Path) -> None:
    """grid.png in ``folder``: a sample for each prompt, or 16 of the classes in turn, with the words below."""
    names = [*model.items.label_names]
    words = prompts or [names[index % len(names)] for index in range(16)]
    label, key = (None, "prompt") if prompts else ("all", "label")
    how = Writing(len(words), "", {}, each=lambda index: {key: words[index]})
    made = model.sample(len(words), prompt=prompts, label=label, progress=False)
    model.items.write(folder, lambda _: made, range(len(words)), how)


def seconds(run: RunFolder) -> float:
    """Of the training, by its log."""
    size, done, found = read_run(run).config.training.batch_size, 0, 0.0
    for line in (line for line in read(run.metrics_file) if "event" not in line):
        found += (line["step"] - done) * size / line["items_per_second"]
        done = line["step"]
    return found


def by_name(description: RunDescription, data: str | None = None) -> RunDescription:
    """The description with the names of its ``data`` and of the runs that the model came from, not their places."""
    config, start = description.config, description.start
    for name, value, _ in describe(config):
        if name in ("objective.teacher.source", "autoencoder.source"):
            config = override(config, [f"{name}={Path(json.loads(value)).name}"])
    if data is not None:
        config = replace(config, data=replace(config.data, source=data))
    return replace(description, config=config, start=start and replace(start, source=Path(start.source).name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--makes", required=True, help="what it makes, in one line")
    parser.add_argument("--licence", required=True, help="of the data")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="FIELD=VALUE", help="in place of its own, such as of sampling"
    )
    parser.add_argument("--data", metavar="NAME", help="of the data, where they do not come with Sumi")
    parser.add_argument("--prompts", type=Path, help="file with the prompts of the sheet, one a line")
    parser.add_argument("--command", required=True, help="that trained it, as it was typed")
    parser.add_argument(
        "--after", nargs="*", default=[], metavar="RUN", help="a teacher or an autoencoder, whose seconds count too"
    )
    options = parser.parse_args()
    model, run, place = load(options.run, DiffusionModel), RunFolder(options.run), PLACE / options.name
    model.description = by_name(replace(model.description, config=override(model.config, options.set)), options.data)
    model.config = model.description.config
    model.save(place, half=True)
    for part in (RunFolder(place).part(name) for name in model.parts()):
        part.write_config(to_json(by_name(read_run(part), options.data)))
    shutil.copy(run.metrics_file, place / run.metrics_file.name)
    prompts = options.prompts.read_text().splitlines() if options.prompts else None
    if prompts:
        (place / PROMPTS).write_text("\n".join(prompts) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        draw_sheet(load(place, DiffusionModel), prompts, Path(folder))
        shutil.copy(Path(folder) / "grid.png", place / SHEET)
    card = Card(
        makes=options.makes,
        data=model.config.data.source,
        data_sha256=model.description.data_fingerprint,
        licence=options.licence,
        command=options.command,
        seconds=round(sum(seconds(one) for one in (run, *map(RunFolder, options.after)))),
        machine=f"one thread of {platform.processor() or platform.machine()}, torch {torch.__version__}",
        figures={},
    )
    (place / CARD).write_text(json.dumps(vars(card), indent=2, ensure_ascii=False) + "\n")
    print(f"{place}: {sum(file.stat().st_size for file in place.rglob('*') if file.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
