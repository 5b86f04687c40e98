"""``sumi train``."""

import argparse
import time

from sumi.cli.evaluate import report_at_end
from sumi.cli.options import add_device, add_end, add_settings
from sumi.cli.terminal import counting_of, say, training_progress


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe (see `sumi recipes`), or a JSON configuration file")
    parser.add_argument(
        "--data",
        metavar="PATH|NAME",
        help="digits, fashion, characters, spoken-digits, qm7-small, qm9-smiles, swiss-roll, ring-of-8, heartbeat; a "
        "folder of images, of sound or of idx files; .npy; .txt or .csv of strings; .xyz or .sdf of molecules (recipes "
        "of text or latents: characters, if left out)",
    )
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/RECIPE-DATA)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps (training.steps)")
    parser.add_argument("--seed", type=int, metavar="S", help="all randomness follows from it (default: 0)")
    add_device(parser)
    add_settings(parser, "the configuration", "`sumi recipes NAME`")
    parser.add_argument(
        "--autoencoder",
        metavar="RUN",
        help="of latent: the run of an autoencoder whose latents are learned (default: one is trained first)",
    )
    parser.add_argument("--clip", metavar="RUN", help="of unclip: the run of `sumi train clip` whose vectors it takes")
    parser.add_argument(
        "--from", dest="start", metavar="RUN", help="begin from the averaged weights of this run, on other data"
    )
    add_end(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.group import first_process, restarted
    from sumi.training_run import Events, train

    begun = time.monotonic()
    given = [] if options.autoencoder is None else [f"autoencoder.source={options.autoencoder}"]
    given += [] if options.clip is None else [f"clip.source={options.clip}"]
    with counting_of() as counting, training_progress() as progress:
        model = train(
            options.recipe,
            data=options.data,
            out=options.out,
            steps=options.steps,
            seed=options.seed,
            settings=[*options.settings, *given],
            device=options.device,
            resume=options.resume or restarted(),
            start=options.start,
            events=Events(say, progress, counting),
        )
    if not first_process():
        return
    say(f"trained {model.step} steps: {model.folder}")
    report_at_end(options, model, time.monotonic() - begun)
