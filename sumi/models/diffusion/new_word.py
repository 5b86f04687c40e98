"""A new word for a trained model, from a few pictures (Gal et al. 2022, "An image is worth one word").

The word is one token more in the table of the text encoder. Its row alone is trained, with the loss of the run, on the
pictures with captions such as "a picture of NAME"; every other weight stays, so what the model makes of other prompts
is the same bit for bit. With a ``rank`` the layers are adapted too (`sumi.networks.low_rank`); then half of each batch
are pictures of the run's own data with their captions, so that old words keep their meaning (Ruiz et al. 2022,
"DreamBooth", section 3.2).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from sumi.boundary.arguments import MOST_COUNT, torch_defaults, whole
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.conditioners import ConditioningConfig
from sumi.conditioning.text import TextConditioner, TextConditioning, Texts, texts_of
from sumi.conditioning.text_encoder import OwnEncoder, OwnEncoderConfig
from sumi.data.batch import batch_of
from sumi.data.dataset import Dataset, evenly
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.models.diffusion.autoencoder import NoAutoencoder
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import Start
from sumi.networks.low_rank import NewRows, adapt, merge
from sumi.objectives.objective import Objective

FEWEST, MOST = 3, 10
CAPTIONS: Final = ("{}", "a {}", "a picture of {}", "a picture of a {}", "one {}")
BATCH: Final = 8
RATE: Final = 0.02
"""Of the new row, whose numbers are of size 1."""
RATE_LOW_RANK: Final = 2e-4
HELD_OUT: Final = 256
SAMPLES: Final = 8


@dataclass(frozen=True)
class Taught:
    """``distance``: the mean over samples of the word of the root mean square difference to the nearest of the given
    pictures, in [0, 2], (before, after); ``loss``: of the pictures with the word, and ``old_loss``: of held-out
    pictures with their own captions, before and after.
    """

    model: DiffusionModel
    distance: tuple[float, float]
    loss: tuple[float, float]
    old_loss: tuple[float, float]

    @property
    def old_change(self) -> float:
        """By how much of itself the loss of old captions changed."""
        return self.old_loss[1] / self.old_loss[0] - 1


@torch_defaults()
def teach(
    model: DiffusionModel,
    images: object,
    word: str,
    *,
    like: str | None = None,
    rank: int | None = None,
    steps: int = 400,
    seed: int = 0,
    data: object = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Taught:
    """A model that knows ``word`` from 3 to 10 ``images`` (a folder, or whatever else is data of images).

    ``like``: a known word to begin from; None: the mean of all tokens. ``rank``: also adapt the layers by additions of
    this rank. ``data``: where the run's own data are now, for the loss of old captions. Raises InputError.
    """
    steps, seed = whole("steps", steps, least=1, most=MOST_COUNT), whole("seed", seed)
    rank = None if rank is None else whole("rank", rank, least=1)
    encoder, word = _encoder_of(model), _new_word(model, word)
    if others := [name for name in ("labels", "values") if model.config.condition(name) is not None]:
        raise InputError(
            f"{model.folder}: is also given {', '.join(others)}, which the pictures of a new word lack; give a run of "
            "texts alone"
        )
    if like is not None and (len(like.split()) != 1 or encoder.unknown(like)):
        raise InputError(f"like: {like[:80]!r} is no word that the model has seen; give one of its captions' words")
    given = _pictures(model, images)
    if not FEWEST <= len(given) <= MOST:
        raise InputError(f"images: {len(given)} are given; give {FEWEST} to {MOST} pictures of one thing")
    own, held_out = model.load_images(data).split(model.config.data.held_out)

    objective, config = _with_token(model, encoder, word, like)
    text = _text_of(objective)
    texts: list[Texts] = [(tuple(caption.format(word) for caption in CAPTIONS), ())] * len(given)
    old_texts, some, each = texts_of(held_out), evenly(len(held_out), HELD_OUT), np.arange(len(given))

    def losses() -> tuple[float, float]:
        return (
            _loss_of(objective, text, given, texts, np.tile(each, 32)),
            _loss_of(objective, text, held_out, old_texts, some),
        )

    before = losses()
    _train(objective, text, (given, texts), (own, texts_of(own)) if rank else None, rank, steps, seed, progress)
    after = losses()
    description = replace(model.description, config=config, start=Start(str(model.folder), model.step, model.digest))
    made = DiffusionModel(description, objective.model, model.step, model.folder)
    pictures = given.batch(each)
    distance = (
        _nearest(model.sample(SAMPLES, seed=seed, prompt=f"a {like or word}"), pictures),
        _nearest(made.sample(SAMPLES, seed=seed, prompt=f"a {word}"), pictures),
    )
    return Taught(made, distance, (before[0], after[0]), (before[1], after[1]))


def _pictures(model: DiffusionModel, images: object) -> Dataset:
    """Raises InputError for what holds none."""
    try:
        return model.load_images(images)
    except InputError as error:
        raise InputError(f"images: cannot be used ({error}); give a folder of {FEWEST} to {MOST} pictures") from None


def _encoder_of(model: DiffusionModel) -> OwnEncoder:
    if model.text is None:
        raise InputError(f"{model.folder}: was trained without captions; give a run of text-to-image")
    if model.config.autoencoder != NoAutoencoder():
        raise InputError(f"{model.folder}: makes latents, and words are taught to models of pixels; give another run")
    why = f"{model.folder}: reads texts with a frozen encoder, which learns no words; give a run with its own"
    return expect(model.text.encoder, OwnEncoder, why)


def _new_word(model: DiffusionModel, word: str) -> str:
    """In lower case. Raises InputError for none, and for one that the model has seen."""
    encoder, word = _encoder_of(model), word.strip().lower()
    if not re.fullmatch(r"\w{1,40}", word):
        raise InputError(f"word: {word[:80]!r} is not one word of up to 40 letters and digits; give such as zorp")
    if not encoder.unknown(word):
        raise InputError(f"word: {word!r} is known to the model already; give one that no caption has")
    return word


def _text_of(objective: Objective) -> TextConditioner:
    found = expect(objective.model.conditioner, Conditioners, "text: is read by a part of your own")
    return expect(found["text"], TextConditioner, "text: is read by a part of your own")


def _with_token(
    model: DiffusionModel, encoder: OwnEncoder, word: str, like: str | None
) -> tuple[Objective, DiffusionSettings]:
    """The objective of the run with its averaged weights and one token more, and its configuration."""

    def grown(condition: ConditioningConfig) -> ConditioningConfig:
        match condition:
            case TextConditioning(encoder=OwnEncoderConfig() as chosen):
                return replace(condition, encoder=replace(chosen, tokens=chosen.tokens + 1))
            case _:
                return condition

    config = replace(model.config, conditioning=tuple(map(grown, model.config.conditioning)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.config.seed % 2**63)
        objective = config.build(model.items)
    old, table = model.module.state_dict(), "conditioner.text.encoder.table.weight"
    rows = old[table]
    known = encoder.vocabulary.encode(like) if like else range(2, len(rows))
    old[table] = torch.cat([rows, rows[list(known)].mean(0, keepdim=True)])
    objective.model.load_state_dict(old)
    grown_encoder = expect(_text_of(objective).encoder, OwnEncoder, "")
    grown_encoder.keep(encoder.vocabulary.with_name(word, len(rows)))
    return objective.to(model.device), config


@torch.no_grad()
def _loss_of(
    objective: Objective, text: TextConditioner, data: Dataset, texts: list[Texts], items: np.ndarray
) -> float:
    """The loss of the run on these items, with the same captions, times and noise at each call."""
    objective.eval()
    text.texts = texts
    parts = np.array_split(np.arange(len(items)), max(1, len(items) // 64))
    losses = [objective(batch_of(data, items[part], part, step=0, seed=0)) for part in parts]
    return float(torch.cat([loss.detach().double() for loss in losses]).mean())


def _train(
    objective: Objective,
    text: TextConditioner,
    new: tuple[Dataset, list[Texts]],
    old: tuple[Dataset, list[Texts]] | None,
    rank: int | None,
    steps: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> None:
    table = expect(text.encoder, OwnEncoder, "").table
    last = len(table.weight) - 1
    module = objective.model
    name = next(name for name, part in module.named_modules() if part is table) + ".weight"
    if rank is None:
        module.requires_grad_(False)
        parametrize.register_parametrization(table, "weight", NewRows(table.weight, range(last)))
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            adapt(
                module,
                rank,
                [other for other, _ in module.named_parameters() if other != name],
                {name: list(range(last))},
            )
    row = [weight.requires_grad_() for other, weight in module.named_parameters() if "encoder.table" in other]
    rest = [
        weight for other, weight in module.named_parameters() if "encoder.table" not in other and weight.requires_grad
    ]
    groups = [{"params": row, "lr": RATE}, *([{"params": rest, "lr": RATE_LOW_RANK}] if rest else [])]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    objective.train()
    for step in range(steps):
        places = np.arange(step * BATCH, (step + 1) * BATCH)
        loss = torch.zeros((), device=table.weight.device)
        for data, texts in (new, old) if old is not None else (new,):
            text.texts = texts
            chosen = np.random.default_rng((seed, step)).integers(0, len(data), BATCH)
            loss = loss + objective(batch_of(data, chosen, places, step=step, seed=seed)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= 1 if step < steps // 2 else 0.5 ** (8 / steps)
        progress(step + 1, steps)
    merge(module)
    objective.eval()


def _nearest(samples: Tensor, pictures: Tensor) -> float:
    differences = (samples[:, None] - pictures[None]).square().flatten(2).mean(2).sqrt()
    return float(differences.amin(1).mean())
