"""What the commands that start from pictures share: the model, and candidates as files."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sumi.boundary.files import refuse_folder, short_name
from sumi.cli.sampling import conditioned_name, digest_of, in_words, sampling_options, spent
from sumi.cli.terminal import refuse, say

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.data.audio import AudioSpec
    from sumi.data.items import Given
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.model import TrainedModel
    from sumi.models.unclip import UnclipModel

    Shape = tuple[int, int, int]


def of_vectors(options: argparse.Namespace) -> UnclipModel | None:
    """The model where it makes pictures of a CLIP's vectors; else None. Raises InputError as `prepared`."""
    from sumi.models.run import load, read_run
    from sumi.models.unclip import UnclipConfig, UnclipModel
    from sumi.training.run_folder import RunFolder

    match read_run(RunFolder(options.run)).config:
        case UnclipConfig():
            if options.out:
                refuse_folder(Path(options.out))
            model = load(options.run, UnclipModel, checkpoint=options.checkpoint, device=options.device)
            refuse(model, options, "label")
            return model
        case _:
            return None


def sound_of(model: DiffusionModel) -> AudioSpec | None:
    """What its clips are, for a model of sound; else None."""
    from sumi.data.audio import AudioSpec

    match model.items:
        case AudioSpec() as spec:
            return spec
        case _:
            return None


def prepared(options: argparse.Namespace, *, sound: bool = False) -> DiffusionModel:
    """The model, of images; or of sound, where that will do. Raises InputError where it is of neither, or nothing can
    be written to --out.
    """
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load

    if options.out:
        refuse_folder(Path(options.out))
    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device=options.device)
    if not sound or sound_of(model) is None:
        _ = model.images
    _ = model.gaussian_denoiser()
    return model


def given_picture(
    model: DiffusionModel, options: argparse.Namespace, path: str, what: str = "image", shape: Shape | None = None
) -> Given:
    """The picture at ``path``, of the model's ``shape`` or the one given; says how it was fitted. Raises InputError."""
    from sumi.models.diffusion.pictures import read_image

    data, shape = model.config.data, shape or model.images.shape
    frame = data.fitting(shape) if options.fit else None
    found = read_image(path, shape, what, larger=True, frame=frame, background=data.background)
    if found.done:
        larger = min(found.own[0] - shape[1], found.own[1] - shape[2]) >= 0 and found.own != shape[1:]
        say(f"{path}: {found.done}" + (" (--no-fit takes all of it)" if larger else ""))
    return found


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
    system: TrainedModel | None = None,
) -> None:
    """Candidates, and their ``mean``, in --out or ``place`` (None: the run's ``restored/``); says what it wrote.

    ``steps``: those that were walked; None: all that the options or the run name. ``system``: of which the model is a
    part, if it is.
    """
    from sumi.conditioning.prompt import prompts_of
    from sumi.models.diffusion.pictures import write_restored
    from sumi.models.samples import stated_facts
    from sumi.training.run_folder import RunFolder

    error = model.config.sampling.replaced(sampling_options(model, options)).error
    named = model.config.sampling.steps if options.steps is None else options.steps
    steps = named if steps is None else steps
    given = hashlib.sha256(image.numpy().tobytes() + (b"" if mask is None else mask.numpy().tobytes())).hexdigest()
    about: dict[str, object] = {
        "run": str(options.run),
        "checkpoint": model.step,
        "image": options.image,
        "given": given,
        "digest": digest_of(system or model, options),
        **more,
        "seed": options.seed,
        "method": method,
        **({"steps": steps} if error is None else {"error": error}),
    }
    name = f"{model.step:08d}-{name}-{Path(options.image).stem}-{given[:8]}-{method}"
    name += f"{f'-{named}' if error is None else ''}-seed{options.seed}"
    name, about = conditioned_name(model, options, name, about)
    folder = Path(options.out) if options.out else (place or RunFolder(options.run).restored) / short_name(name)
    stated = [stated_facts(made, row) for row in range(len(made))]
    prompts = None if options.prompt is None else prompts_of(options.prompt, len(made))

    def each(row: int) -> dict[str, object]:
        return stated[row] if prompts is None else {**stated[row], "prompt": prompts[row]}

    picture = write_restored(folder, image, made, about, mask, mean=mean, each=each)
    count = f"{len(made)} candidate{'s' if len(made) != 1 else ''}"
    how = f"{steps} steps{in_words(more)}" if error is None else spent(stated, error)
    say(f"wrote {count} and {picture} ({method}, {how})")
