"""``sumi teach RUN --images DIR --word NAME``."""

import argparse

from sumi.boundary.files import typed
from sumi.cli.options import add_device, add_run
from sumi.cli.terminal import counting, counting_of, say
from sumi.errors import InputError


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--images", required=True, metavar="DIR", help="a folder of 3 to 10 pictures of one thing")
    parser.add_argument("--word", required=True, metavar="NAME", help="the new word, one that no caption has")
    parser.add_argument("--like", metavar="WORD", help="a known word to begin from (default: the mean of all tokens)")
    parser.add_argument("--rank", type=int, metavar="R", help="also adapt the layers, by additions of this rank")
    parser.add_argument("--steps", type=int, default=400, help="of the training, 8 pictures each (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="of the training and of the samples (default: 0)")
    parser.add_argument("--data", metavar="PATH|NAME", help="where the run's data are now (default: as before)")
    parser.add_argument(
        "--judge",
        metavar="RUN",
        help="measure what this judge of attributes reads in samples of the word, and of others",
    )
    parser.add_argument("--clip", metavar="RUN", help="measure them by what this CLIP takes samples for")
    parser.add_argument(
        "-n", type=int, metavar="N", help="with --judge or --clip: samples of each measurement (default: 100)"
    )
    parser.add_argument("--out", metavar="RUN", help="folder of the new run (default: RUN-NAME)")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.arguments import whole
    from sumi.data.dataset import everything
    from sumi.evaluation.new_word import SAMPLES as MEASURED
    from sumi.evaluation.new_word import evaluate_word, read_alike
    from sumi.evaluation.prompts import check_judges
    from sumi.models.attributes import JudgeModel
    from sumi.models.clip import ClipModel
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.new_word import SAMPLES, teach
    from sumi.models.model import new_folder
    from sumi.models.run import load

    if options.n is not None and not (options.judge or options.clip):
        raise InputError("n: is of --judge or --clip; add one")
    n = MEASURED if options.n is None else whole("n", options.n, least=2)
    if options.judge and options.clip:
        raise InputError("clip: measures what --judge does; give one of them")
    out = options.out or f"{options.run}-{options.word}"
    new_folder(out)
    model = load(options.run, DiffusionModel, device=options.device)
    judge = load(options.judge, JudgeModel, device=options.device) if options.judge else None
    clip = load(options.clip, ClipModel, device=options.device) if options.clip else None
    if judge is not None or clip is not None:
        check_judges(model, judge, clip)
    if judge is not None:
        read_alike(judge, everything(model.load_images(options.images)))  # before the training, which is long
    with counting("teaching") as progress:
        taught = teach(
            model,
            options.images,
            options.word,
            like=options.like,
            rank=options.rank,
            steps=options.steps,
            seed=options.seed,
            data=options.data,
            progress=progress,
        )
    taught.model.save(out)
    before, after = taught.distance
    say(f"distance of {SAMPLES} samples to the nearest of the pictures: {before:.3f} before, {after:.3f} with the word")
    say(f"loss of the pictures with the word: {taught.loss[0]:.5f} before, {taught.loss[1]:.5f} after")
    old, new = taught.old_loss
    say(f"held-out loss of old captions: {old:.5f} before, {new:.5f} after ({taught.old_change:+.2%})")
    if judge is not None or clip is not None:
        with counting_of() as count:
            found = evaluate_word(
                model,
                taught.model,
                options.images,
                options.word,
                like=options.like,
                judge=judge,
                clip=clip,
                data=options.data,
                n=n,
                seed=options.seed,
                progress=count,
            )
        for line in found.says():
            say(line)
    say(f"next: sumi sample {typed(out)} --prompt 'a {options.word}'")
