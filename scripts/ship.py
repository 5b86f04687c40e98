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

from sumi.config import override
from sumi.data.files import Writing
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.pretrained.shipped import CARD, PLACE, PROMPTS, SHEET, Card
from sumi.training.metrics_log import read
from sumi.training.run_folder import RunFolder


def draw_sheet(model: DiffusionModel, prompts: list[str] | None, folder: Path) -> None:
    """grid.png in ``folder``: a sample for each prompt, with it below, or 16."""
    count = len(prompts) if prompts else 16
    how = Writing(count, "", {}, each=(lambda index: {"prompt": prompts[index]}) if prompts else None)
    model.items.write(folder, lambda _: model.sample(count, prompt=prompts, progress=False), range(count), how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--makes", required=True, help="what it makes, in one line")
    parser.add_argument("--licence", required=True, help="of the data")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="of the sampling it ships with")
    parser.add_argument("--prompts", type=Path, help="file with the prompts of the sheet, one a line")
    options = parser.parse_args()
    model, run, place = load(options.run, DiffusionModel), RunFolder(options.run), PLACE / options.name
    model.description = replace(model.description, config=override(model.config, options.set))
    model.save(place, half=True)
    shutil.copy(run.metrics_file, place / run.metrics_file.name)
    prompts = options.prompts.read_text().splitlines() if options.prompts else None
    if prompts:
        (place / PROMPTS).write_text("\n".join(prompts) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        draw_sheet(load(place, DiffusionModel), prompts, Path(folder))
        shutil.copy(Path(folder) / "grid.png", place / SHEET)
    lines = [line for line in read(run.metrics_file) if "event" not in line]
    done, seconds = 0, 0.0
    for line in lines:
        seconds += (line["step"] - done) * model.config.training.batch_size / line["items_per_second"]
        done = line["step"]
    card = Card(
        makes=options.makes,
        data=model.config.data.source,
        data_sha256=model.description.data_fingerprint,
        licence=options.licence,
        command=f"sumi train {model.config.recipe} --data {model.config.data.source} --steps {model.step} "
        f"--seed {model.config.seed}",
        seconds=round(seconds),
        machine=f"one thread of {platform.processor() or platform.machine()}, torch {torch.__version__}",
        figures={},
    )
    (place / CARD).write_text(json.dumps(vars(card), indent=2, ensure_ascii=False) + "\n")
    print(f"{place}: {sum(file.stat().st_size for file in place.rglob('*') if file.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
