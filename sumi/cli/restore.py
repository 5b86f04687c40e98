"""``sumi restore RUN IMAGE --operator NAME``, and what it shares with ``inpaint``, ``upscale`` and ``vary``."""

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sumi.cli.guidance import about_guidance, given_of, sample_options
from sumi.cli.sample import plain
from sumi.cli.terminal import counting, say
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.pictures import find_operator, read_image, write_restored
from sumi.models.diffusion.restoration import method_for
from sumi.models.run import load
from sumi.training.run_folder import RunFolder


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    channels, height, width = model.images.shape
    _, shape, _ = find_operator(options.operator, model.images.shape)
    image = read_image(options.image, shape, larger=True)
    size = image.shape[1] * (height // shape[1]), image.shape[2] * (width // shape[2])
    operator, _, noise = find_operator(options.operator, (channels, *size))
    if options.noise is not None:
        noise = options.noise * 2 / 255
    method = method_for(model, operator, options.method, noise)
    with counting("restoring") as restoring:
        given: SampleOptions = {**sample_options(model, options), "size": size, "progress": restoring}
        made = model.restore(image, operator, noise, options.n, method=options.method, **given)
    name = "restore-" + options.operator.replace(":", "-") + f"-noise{noise * 255 / 2:.2g}"
    write(model, options, name, image, made, {"operator": options.operator, "noise": noise}, method)


def prepared(options: argparse.Namespace) -> DiffusionModel:
    """The model. Raises InputError where it makes no images."""
    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device=options.device)
    _ = model.images, model.gaussian_denoiser()
    return model


def write(
    model: DiffusionModel,
    options: argparse.Namespace,
    name: str,
    image: Tensor,
    made: Tensor,
    more: Mapping[str, object],
    method: str,
    steps: int | None = None,
    mask: Tensor | None = None,
    place: Path | None = None,
    mean: bool = True,
) -> None:
    """Candidates, and their ``mean``, in --out or ``place`` (None: the run's ``restored/``); says what it wrote.

    ``steps``: those that were walked; None: all that the options or the run name.
    """
    named = model.config.sampling.steps if options.steps is None else options.steps
    steps = named if steps is None else steps
    given = hashlib.sha256(image.numpy().tobytes() + (b"" if mask is None else mask.numpy().tobytes())).hexdigest()
    about: dict[str, object] = {
        "run": str(options.run),
        "checkpoint": model.step,
        "image": options.image,
        "given": given,
        **more,
        "seed": options.seed,
        "method": method,
        "steps": steps,
    }
    name = f"{model.step:08d}-{name}-{Path(options.image).stem}-{given[:8]}-{method}-{named}-seed{options.seed}"
    guided = about_guidance(model, options, conditioned=options.label is not None)
    if options.label is not None:
        about |= {"label": options.label}
        name += f"-{plain(options.label)}-guidance{guided['guidance']:g}"
    about |= guided
    name += "".join(f"-{key}-{plain(str(value))}" for key, value in given_of(options).items())
    folder = Path(options.out) if options.out else (place or RunFolder(options.run).restored) / name
    picture = write_restored(folder, image, made, about, mask, mean=mean)
    count = f"{len(made)} candidate{'s' if len(made) != 1 else ''}"
    say(f"wrote {count} and {picture} ({method}, {steps} steps)")
