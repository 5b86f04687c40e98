"""What each word of a prompt did to a picture: where the network looked at it, and the picture without it.

The map of a word is the share of attention that each place gives its tokens (`sumi.networks.attention_maps`), averaged
over heads, layers and the steps of sampling, each layer's enlarged to the picture (Tang et al. 2023, "What the DAAM").
The states are those of the sample itself; the network is asked once more at each, with its condition alone.

Attention says where a word was read, and not what it did there. So beside it stands what the word did: the same noise,
sampled with the word left out, or with another in its place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.boundary.progress import Count
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.prompt import prompts_of, without_marks
from sumi.conditioning.text import TextConditioner
from sumi.data.dataset import few
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.figures.canvas import SavedFigure, canvas, save, show_image
from sumi.figures.files import write_picture
from sumi.figures.pictures import image_grid, png
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import size, trajectory
from sumi.networks.attention_maps import attention_maps
from sumi.process.schedule import noise_level
from sumi.sampling.sampler import Guidance

IN_A_ROW: Final = 6
WORD: Final = re.compile(r"\w")


@dataclass(frozen=True)
class Words:
    """Of one picture (C, H, W) in [-1, 1]: its ``words`` in order, and of each

    ``maps`` (W, H, W'): the share of attention, in [0, 1]; ``without`` (W, C, H, W'): the picture without the word.
    """

    words: tuple[str, ...]
    picture: Tensor
    maps: Tensor
    without: Tensor

    @property
    def changes(self) -> Tensor:
        """(W, H, W'): root of the mean square over channels by which leaving the word out changes each pixel."""
        return (self.without - self.picture).square().mean(1).sqrt()

    @property
    def agreement(self) -> Tensor:
        """(W,): the correlation over places of a word's map with what leaving it out changes; 0 where one is even."""
        maps, changes = self.maps.flatten(1), self.changes.flatten(1)
        return F.cosine_similarity(maps - maps.mean(1, keepdim=True), changes - changes.mean(1, keepdim=True), 1)


def spans_of(text: TextConditioner, prompt: str) -> list[tuple[int, int, slice]]:
    """(begin, end, its tokens' places) of each word in ``prompt``, a text without marks; signs are left out."""
    found: list[tuple[int, int, slice]] = []
    place = text.encoder.around[0]
    spans = text.encoder.spans(prompt)
    for (begin, tokens), end in zip(spans, [*(begin for begin, _ in spans[1:]), len(prompt)], strict=True):
        word = prompt[begin:end].strip()
        if WORD.match(word):
            found.append((begin, begin + len(word), slice(place, place + len(tokens))))
        place += len(tokens)
    return found


@torch.inference_mode()
def what_words_did(
    model: DiffusionModel, prompt: str, *, index: int = 0, seed: int = 0, count: Count | None = None
) -> Words:
    """Item ``index`` of ``seed`` sampled with ``prompt``, and what each word did.

    Raises InputError for a model without text or without attention to it, a blend, and a prompt as `sample` does.
    """
    text, (given,) = model.text, prompts_of(prompt, 1)
    if text is None:
        raise InputError(f"prompt: {model.folder} was trained without captions; give a run of text-to-image")
    if without_marks([given]) != [given]:
        raise InputError(f"prompt: {given[:80]} has weights, or blends two texts; explain a text without marks")
    condition = model.condition_of([index], None, None, None, given)
    spans = spans_of(text, given)
    if not spans:
        raise InputError(f"prompt: {given[:80]} has no words; give some")

    way = trajectory(model, index, seed=seed, prompt=given)
    alone = model.denoiser(condition, guidance=Guidance(scale=1.0))
    height, width = model.images.shape[1:]
    first = _tokens_before(model)
    total, layers = torch.zeros(len(spans), height, width), 0
    for t, state in zip(way.t, way.x, strict=True):
        if t == 0:
            continue
        now = noise_level(model.network_denoiser.schedule, t)
        with attention_maps(model.network_denoiser) as found:
            alone((state[None] * size(now)).to(model.device), now)
        for shares in found:
            own = torch.stack([shares[0, first + places.start : first + places.stop].sum(0) for *_, places in spans])
            total += F.interpolate(own[None].float().cpu(), (height, width), mode="bilinear")[0]
        layers += len(found)
    if not layers:
        raise InputError(f"prompt: the network of {model.folder} attends to no tokens; give a run that does")

    without = []
    for done, (begin, end, _) in enumerate(spans):
        if count is not None:
            count("sampling without each word", done, len(spans))
        rest = " ".join((given[:begin] + given[end:]).split())
        without.append(_sampled(model, rest, index, seed))
    words = tuple(given[begin:end] for begin, end, _ in spans)
    return Words(words, model.seen(way.x[-1:])[0].clamp(-1, 1), total / layers, torch.stack(without))


def _tokens_before(model: DiffusionModel) -> int:
    """How many tokens other conditions have before those of the text."""
    why = f"{model.folder}: is conditioned by a part of its own, whose tokens are not known; give another run"
    conditioner = expect(model.network_denoiser.conditioner, Conditioners, why)
    names = conditioner.names[: conditioner.names.index("text")]
    nothing = conditioner.null(torch.zeros(1, *model.space.shape, device=model.device))
    return sum(0 if (tokens := conditioner[name](nothing).tokens) is None else tokens.shape[1] for name in names)


def _sampled(model: DiffusionModel, prompt: str, index: int, seed: int) -> Tensor:
    """The sample of the same noise; of no words that of the empty text."""
    return model.sample(1, start=index, seed=seed, prompt=prompt or None)[0]


def replaced(prompt: str, change: str) -> str:
    """``prompt`` with the first of a word replaced, as ``change`` says: OLD=NEW. Raises InputError."""
    old, sign, new = (part.strip() for part in change.partition("="))
    if not (old and sign and new):
        raise InputError(f"change: {change[:80]!r} replaces no word; write OLD=NEW, such as blue=red")
    changed, times = re.subn(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, prompt, count=1)
    if not times:
        raise InputError(f"change: {old[:80]!r} is no word of the prompt; give one of its words")
    return changed


def explain_words(
    model: DiffusionModel, prompt: str, folder: Path, *, change: str | None, seed: int, count: Count | None
) -> list[SavedFigure]:
    """words.png, with the words that the model has never seen by name; with ``change`` also changed.png, the picture
    with a word replaced beside it.
    """
    changed = None if change is None else replaced(prompt, change)
    found = what_words_did(model, prompt, seed=seed, count=count)
    about = facts_of(model, prompt, seed)
    figure = draw_words(found, folder / "words.png", about)
    unknown = () if model.text is None else model.text.unknown([prompt, *([] if changed is None else [changed])])
    if unknown:
        figure = replace(figure, says=f"{figure.says}; never seen in training: {few(unknown)}")
    figures = [figure]
    if changed is not None:
        other = _sampled(model, changed, 0, seed)
        sizes = (other - found.picture).square().mean(0).sqrt()
        pictures = torch.stack([found.picture, other, (sizes[None] - 1).expand(other.shape)])
        captions = [prompt, changed, "difference"]
        scale = max(1, 256 // sizes.shape[1])
        grid = image_grid(model.pixels.to_bytes(pictures), columns=3, scale=scale, captions=captions)
        path = write_picture(folder / "changed.png", png(grid, {**about, "change": change}))
        share = float((sizes > 0.1).float().mean())
        figures.append(SavedFigure(path, f"{change}, same noise: {share:.0%} of the pixels change by more than 0.1"))
    return figures


def facts_of(model: DiffusionModel, prompt: str, seed: int) -> dict[str, object]:
    """What the picture of a prompt follows from, as `sumi sample` writes it into its files."""
    method, own = model.method(tuned=False), model.config.sampling
    return {
        "run": str(model.folder),
        "checkpoint": model.step,
        "seed": seed,
        "index": 0,
        "digest": model.digest[:16],
        "solver": repr(method.solver),
        "steps": method.steps,
        "threshold": own.threshold,
        "guidance": own.guidance.scale,
        "prompt": prompt,
    }


def draw_words(found: Words, path: Path, about: Mapping[str, object]) -> SavedFigure:
    """The picture; then of each word where the network looked at it, and the picture without it below."""
    cells = len(found.words) + 1
    columns = min(cells, IN_A_ROW)
    bands = -(-cells // columns)
    figure = canvas(1.65 * columns, 3.75 * bands)
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    show_image(axes[0][0], found.picture)
    axes[0][0].set_title("the picture", fontsize=9)
    shares = found.maps.mean((1, 2))
    grey = found.picture.mean(0, keepdim=True)
    moved = found.changes.mean((1, 2))
    for k, word in enumerate(found.words):
        band, column = divmod(k + 1, columns)
        above, below = axes[2 * band][column], axes[2 * band + 1][column]
        show_image(above, grey)
        low, high = float(found.maps[k].min()), float(found.maps[k].max())
        above.imshow(found.maps[k], cmap="inferno", alpha=0.7, vmin=low, vmax=max(high, low + 1e-12))
        above.set_title(f"{word}\n{low:.1%} to {high:.1%}", fontsize=9)
        show_image(below, found.without[k])
        below.set_title(f"without: {moved[k]:.2f}", fontsize=8)
    most, strongest = (found.words[int(values.argmax())] for values in (shares, moved))
    return save(
        figure,
        path,
        f"the network looks most at {most!r} ({shares.max():.1%} of attention); the picture changes most without "
        f"{strongest!r} (by {moved.max():.2f}); between maps and changes the correlation is "
        f"{found.agreement.mean():.2f}",
        about,
    )
