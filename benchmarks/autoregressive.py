"""An autoregressive transformer next to a run of symbols: the same strings, blocks, optimizer and CPU seconds.

    python -m benchmarks.autoregressive RUN --seconds 3000 [-n 1000]

It learns p(x) = Π_l p(x_l | x_1 … x_l-1), the end of a string included, and is drawn a symbol at a time. Rows: bits
per character and perplexity of held-out strings, of the run by its bound; valid, different and new ones of -n samples,
drawn as learned, at the temperature of the run, and as the run is configured. One thread.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.data.batch import Batch
from sumi.data.dataset import evenly_spaced
from sumi.data.symbols import SymbolSpec
from sumi.metrics.intervals import Estimate
from sumi.metrics.symbols import are_molecules, shares
from sumi.models.run import load
from sumi.models.symbols.likelihood import SymbolLikelihood
from sumi.models.symbols.model import SymbolModel
from sumi.networks.symbols import SymbolTransformerConfig
from sumi.networks.transformer import Block, rotations
from sumi.objectives.objective import Objective
from sumi.training.trainer import Trainer

TIMED = 40  # steps
MEASURED = 1000  # held-out strings


class Autoregressive(nn.Module):
    """``forward(x: (N, L) of symbols) -> (N, L, symbols)``: logits of each symbol from those before it."""

    def __init__(self, config: SymbolTransformerConfig, length: int, symbols: int) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.begin = symbols
        self.symbols = nn.Embedding(symbols + 1, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(config.of_blocks()) for _ in range(config.blocks))
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, symbols)
        for weight in self.out.parameters():
            nn.init.zeros_(weight)
        for block in self.blocks:  # gates of 1: nothing modulates these blocks, so nothing would open them
            nn.init.ones_(block.offset.unflatten(0, (6, width))[2])  # pyrefly: ignore[missing-attribute]
            nn.init.ones_(block.offset.unflatten(0, (6, width))[5])  # pyrefly: ignore[missing-attribute]

    def forward(self, x: Tensor) -> Tensor:
        before = F.pad(x[:, :-1], (1, 0), value=self.begin)
        h = self.symbols(before) + self.places[: x.shape[1]]
        angles = rotations(1, x.shape[1], self.config.head_width).repeat(1, 2)
        turns = angles.cos().to(h), angles.sin().to(h)
        later = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)[None, None]
        modulation = h.new_zeros(len(x), 6 * self.config.width)
        for block in self.blocks:
            h = block(h, modulation, turns, None, later.to(h))
        return self.out(self.norm_out(h))


class NextSymbol(Objective[Autoregressive]):
    """Cross-entropy of each symbol up to the first end, in nats per place."""

    def __init__(self, model: Autoregressive, spec: SymbolSpec) -> None:
        super().__init__(model)
        self.spec = spec

    def forward(self, batch: Batch) -> Tensor:
        return nats(self.model, self.spec, batch.x).mean(1).float()


def nats(model: Autoregressive, spec: SymbolSpec, x: Tensor) -> Tensor:
    """-log p of each symbol up to the first end, 0 after it: (N, L)."""
    each = F.cross_entropy(model(x).float().flatten(0, 1), x.flatten(), reduction="none").view(x.shape)
    return each * (torch.arange(x.shape[1]) <= spec.lengths(x)[:, None])


def draw(model: Autoregressive, spec: SymbolSpec, n: int, temperature: float) -> Tensor:
    """Sequences (n, L), a symbol at a time."""
    x = torch.zeros(n, spec.length, dtype=torch.int64)
    generator = torch.Generator().manual_seed(1)
    for place in range(spec.length):
        logits = model(x)[:, place].double() / temperature
        x[:, place] = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return x


def trained(run: SymbolModel, seconds: float) -> tuple[Autoregressive, int, float]:
    """The model after so many CPU seconds of steps, its steps, and CPU seconds of one."""
    spec, (data, _) = run.spec, run.load_data().split(run.config.data.held_out)
    config = replace(run.config.training, sample_every=0, keep_checkpoints=1)

    def trainer(steps: int, folder: str) -> Trainer:
        torch.manual_seed(0)
        model = Autoregressive(run.config.network, spec.length, spec.levels)
        return Trainer(replace(config, steps=steps), NextSymbol(model, spec), data, 0, Path(folder))

    with tempfile.TemporaryDirectory() as folder:
        first = trainer(2 * TIMED, folder)
        first.take_step(1)
        begin = time.process_time()
        for step in range(2, TIMED + 2):
            first.take_step(step)
        each = (time.process_time() - begin) / TIMED
    with tempfile.TemporaryDirectory() as folder:
        whole = trainer(round(seconds / each), folder)
        whole.run()
        with whole.ema.whole() as averaged:
            averaged.eval()
            return averaged, whole.step, each


def rows(run: SymbolModel, model: Autoregressive, n: int) -> Iterator[list[str]]:
    """The table."""
    spec, (data, held_out) = run.spec, run.load_data().split(run.config.data.held_out)
    known = data.texts()
    x = torch.as_tensor(evenly_spaced(held_out, MEASURED))
    molecules, lengths, cool = are_molecules(known[:500]), spec.lengths(x), run.config.sampling.temperature

    def row(name: str, bits: Estimate | None, made: Tensor) -> list[str]:
        found = shares(run.texts(made), known, molecules=bool(molecules))
        figures = (
            ["", ""]
            if bits is None
            else [f"{bits.value:.3f} [{bits.low:.3f}, {bits.high:.3f}]", f"{2**bits.value:.3f}"]
        )
        parts = (found.valid, found.unique, found.novel)
        return [name, *figures, *("" if e is None else f"{100 * e.value:.1f} %" for e in parts)]

    bound = SymbolLikelihood.of(run.bits(x, evaluations=20), lengths, 20).by_character
    with torch.inference_mode():
        each = nats(model, spec, x).double().sum(1) / torch.tensor(2.0).double().log()
        exact = SymbolLikelihood.of(each, lengths, 1).by_character
        learned, cooled = (draw(model, spec, n, temperature) for temperature in (1.0, cool))
    sampling = run.config.sampling
    yield row("diffusion, ancestral", bound, run.sample(n, solver="ancestral", temperature=1.0, corrections=0, seed=1))
    yield row(f"diffusion, T {cool:g}, c {sampling.corrections}", None, run.sample(n, seed=1))
    yield row("autoregressive", exact, learned)
    yield row(f"autoregressive, T {cool:g}", None, cooled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--seconds", type=float, default=3000)
    parser.add_argument("-n", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = load(options.run, SymbolModel)
    model, steps, each = trained(run, options.seconds)
    sizes = [sum(weight.numel() for weight in one.parameters()) for one in (run.module.network, model)]
    print(f"{sizes[0]:,} and {sizes[1]:,} parameters; {steps:,} steps of {each:.4f} CPU s")
    print("| | bits a character | perplexity | valid | different, of valid | new, of different |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows(run, model, options.n):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
