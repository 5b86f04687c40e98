"""``sumi vary RUN IMAGE --strength S``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.cli.candidates import given_picture, of_vectors, prepared, sound_of, write
from sumi.cli.options import add_candidates, add_run, add_solver
from sumi.cli.sampling import about_restarts, named_condition, sample_options, sampling_options
from sumi.cli.sound import vary_clip
from sumi.cli.terminal import counting, refuse, say

if TYPE_CHECKING:
    from sumi.models.diffusion.options import SampleOptions
    from sumi.models.unclip import UnclipModel


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("image", metavar="IMAGE", help="an image file; it is fitted to the model's size; or a WAV file")
    parser.add_argument(
        "--strength",
        type=float,
        metavar="S",
        help="0: the image or clip itself; 1/2: as much noise as image; 1: nothing of it (default: 0.5)",
    )
    add_solver(parser)
    add_candidates(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.sampling.sdedit import rest_of
    from sumi.training.run_folder import RunFolder

    if (unclip := of_vectors(options)) is not None:
        _of_its_vector(unclip, options)
        return
    model, options.strength = prepared(options, sound=True), 0.5 if options.strength is None else options.strength
    settings = sampling_options(model, options)
    if not options.strength and any(value is not None for value in (*settings.values(), options.label)):
        say("note: strength 0 gives back what was given, whatever the options of sampling")
    if (spec := sound_of(model)) is not None:
        vary_clip(model, spec, options)
        return
    image = given_picture(model, options, options.image).x
    with counting("varying") as varying:
        given: SampleOptions = {**sample_options(model, options), "progress": varying}
        made = model.vary(image, options.strength, options.n, **given)
    own = image.shape == model.images.shape
    method = model.method(tuned=options.strength == 1 and not named_condition(options) and own, **settings)
    t = float(model.at_strength(options.strength).t)
    steps, name = len(rest_of(method.times, t)) - 1 if options.strength else 0, f"vary{options.strength:g}"
    more = {"strength": options.strength, **about_restarts(model, options, t)}
    place = RunFolder(options.run).varied
    write(model, options, name, image, made, more, options.solver or method.name, steps, place=place, mean=False)


def _of_its_vector(model: UnclipModel, options: argparse.Namespace) -> None:
    """Pictures of the vector that the CLIP gives the image."""
    from sumi.training.run_folder import RunFolder

    refuse(model, options, "strength")
    decoder = model.decoder
    image, settings = given_picture(decoder, options, options.image).x, sampling_options(decoder, options)
    with counting("varying") as varying:
        given: SampleOptions = {**sample_options(decoder, options), "progress": varying}
        made = model.vary(image, options.n, **given)
    method, place = decoder.method(tuned=False, **settings), RunFolder(options.run).varied
    how, more = options.solver or method.name, about_restarts(decoder, options)
    write(decoder, options, "vary", image, made, more, how, method.steps, place=place, mean=False, system=model)
