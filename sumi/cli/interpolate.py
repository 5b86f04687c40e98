"""``sumi interpolate RUN A B``."""

import argparse
import hashlib
from pathlib import Path
from typing import cast

from sumi.boundary.files import short_name
from sumi.cli.candidates import given_picture, of_vectors, prepared, sound_of
from sumi.cli.options import add_fit, add_guidance, add_label, add_run, add_steps
from sumi.cli.sampling import (
    about_restarts,
    conditioned_name,
    digest_of,
    in_words,
    prompt_of,
    sampling_options,
)
from sumi.cli.sound import interpolate_clips
from sumi.cli.terminal import counting, say


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("a", metavar="A", help="an image file; it is fitted to the model's size; or a WAV file")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument("-n", type=int, default=8, metavar="N", help="images, both ends among them (default: 8)")
    add_steps(parser)
    parser.add_argument(
        "--solver", default="heun", metavar="NAME", help="heun, ddim, rk4, adams or adaptive (default: heun)"
    )
    add_label(parser)
    add_guidance(parser)
    add_fit(parser)


def run(options: argparse.Namespace) -> None:
    import torch

    from sumi.data.files import write_between
    from sumi.models.diffusion.options import SampleOptions
    from sumi.models.diffusion.pictures import BYTES
    from sumi.training.run_folder import RunFolder

    unclip = of_vectors(options)
    model = prepared(options, sound=True) if unclip is None else unclip.decoder
    if (spec := sound_of(model)) is not None:
        interpolate_clips(model, spec, options)
        return
    a, b = (given_picture(model, options, path, name).x for name, path in (("a", options.a), ("b", options.b)))
    with counting("interpolating") as interpolating:
        settings, prompt = sampling_options(model, options), prompt_of(model, options)
        if unclip is not None:
            given: SampleOptions = {**cast(SampleOptions, settings), "prompt": prompt, "progress": interpolating}
            made = unclip.interpolate(a, b, options.n, **given)
        else:
            made = model.interpolate(
                a,
                b,
                options.n,
                corrections=0,
                label=options.label,
                prompt=prompt,
                condition=None,
                progress=interpolating,
                **settings,
            )
    ends = torch.stack([a, b])
    steps = model.config.sampling.steps if options.steps is None else options.steps
    pictures = hashlib.sha256(ends.numpy().tobytes()).hexdigest()
    about: dict[str, object] = {
        "run": str(options.run),
        "checkpoint": model.step,
        "a": options.a,
        "b": options.b,
        "given": pictures,
        "digest": digest_of(unclip or model, options),
        "images": options.n,
        "solver": options.solver,
        "steps": steps,
        **({} if unclip is None else about_restarts(model, options)),
    }
    name = f"{model.step:08d}-{Path(options.a).stem}-{Path(options.b).stem}-{pictures[:8]}-{options.n}"
    name += f"-{options.solver}-{steps}"
    name, about = conditioned_name(model, options, name, about)
    folder = Path(options.out) if options.out else RunFolder(options.run).interpolated / short_name(name)
    picture = write_between(folder, BYTES.to_bytes(ends), BYTES.to_bytes(made), about)
    say(f"wrote {len(made)} images and {picture} ({options.solver}, {steps} steps{in_words(about)})")
