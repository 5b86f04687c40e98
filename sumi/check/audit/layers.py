"""Layers that do nothing, layers that explode, and what becomes of the network in half precision.

A layer is dead if its output is the same for all items at all noise levels while its input is not. float16 holds
numbers up to 65,504: a larger activation becomes infinite there, and the next normalisation makes NaN of it. bfloat16
has float32's range and 8 bits, which the output shows.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from sumi.check.audit.finding import Finding, percent
from sumi.check.audit.reading import Reading
from sumi.check.audit.search import Probe
from sumi.conditioning.condition import Condition
from sumi.denoising.parameterization import Coefficients

LARGEST_HALF: Final = 65504.0
ROOM: Final = 4.0
"""Activations of other inputs are larger than those that were seen: less room than this factor is a risk."""
CONSTANT: Final = 1e-6
"""Of its own size, less than which an output does not change: float32 rounds to 6e-8."""
ITEMS: Final = 8
MOST_ADDED: Final = 0.25
"""Share of the error of x̂_0 that bfloat16 may add: the shipped models have up to 4 %."""
LEVEL: Final = 2 / 255
"""One of 256 levels of [-1, 1]: an error below that is none to see, and counts as so much."""


@dataclass
class Seen:
    """Of one layer over all calls: the first output and input, whether others differed, and its largest number."""

    output: Tensor
    given: Tensor
    output_varies: bool = False
    input_varies: bool = False
    largest: float = 0.0

    def add(self, given: Tensor, output: Tensor) -> None:
        """Another call's input and output."""
        self.input_varies |= _varies(given, self.given)
        self.output_varies |= _varies(output, self.output)
        self.largest = max(self.largest, float(output.abs().max()) if output.isfinite().all() else torch.inf)


def _varies(now: Tensor, first: Tensor) -> bool:
    """Whether rows differ from each other, or from those of the first call."""
    size = max(float(first.abs().max()), 1e-30)
    among = float((now - now[:1]).abs().max())
    over = float((now[:1] - first[:1]).abs().max()) if now.shape[1:] == first.shape[1:] else torch.inf
    return max(among, over) > CONSTANT * size


@torch.inference_mode()
def watch(probe: Probe, reading: Reading) -> dict[str, Seen]:
    """What every layer with weights gives at three noise levels."""
    module, seen = probe.subject.module, dict[str, Seen]()
    assert module is not None

    def hook(name: str) -> Any:
        def look(_layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            match given, output:
                case (Tensor() as first, *_), Tensor() as last if last.is_floating_point() and last.ndim:
                    seen.setdefault(name, Seen(last.clone(), first.clone())).add(first, last)
                case _:
                    pass

        return look

    leaves = [(n, m) for n, m in module.named_modules() if not [*m.children()] and [*m.parameters(recurse=False)]]
    handles = [layer.register_forward_hook(hook(name)) for name, layer in leaves]
    try:
        for _, x, c, condition in _inputs(probe, reading):
            probe.subject.predict(x, c, condition)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _inputs(probe: Probe, reading: Reading) -> list[tuple[Tensor, Tensor, Coefficients, Condition | None]]:
    rows = probe.rows.chosen(torch.arange(min(ITEMS, len(probe.rows.x))))
    few = Probe(probe.subject, rows, probe.ratios, probe.seed)
    found = []
    for number in (0, len(probe.ratios) // 2, len(probe.ratios) - 1):
        level = reading.level(probe.ratios[number])
        if level is not None:
            found.append((*few.noised(reading, number, level), reading.coefficients(level), rows.condition))
    return found


def layers(probe: Probe, reading: Reading) -> list[Finding]:
    """Dead layers; the largest activation; nothing where the layers cannot be seen."""
    if probe.subject.module is None:
        return []
    seen = watch(probe, reading)
    dead = [name for name, layer in seen.items() if layer.input_varies and not layer.output_varies]
    facts: dict[str, Any] = {"layers": len(seen), "dead": dead}
    says = f"{len(seen)} layers with weights were watched at three noise levels"
    alive = Finding("layers", f"{says}: each one's output depends on its input", facts=facts)
    if dead:
        names = ", ".join(dead[:3]) + (f" and {len(dead) - 3} more" if len(dead) > 3 else "")
        alive = Finding(
            "layers",
            f"{says}: the output of {names} is always the same, whatever comes in",
            "dead layer",
            "check that its weights were loaded (zeros are what it starts with); otherwise train it further",
            facts,
        )
    return [alive, _range(seen), *_precision(probe, reading)]


def _range(seen: dict[str, Seen]) -> Finding:
    name, layer = max(seen.items(), key=lambda row: row[1].largest)
    facts = {"largest": layer.largest, "layer": name}
    says = f"the largest activation is {layer.largest:.3g}, in {name}; float16 holds {LARGEST_HALF:,.0f}"
    if layer.largest * ROOM < LARGEST_HALF:
        return Finding("activations", says, facts=facts)
    what = "it overflows there, and NaN follows" if layer.largest > LARGEST_HALF else "there is too little room"
    change = f"run it in float32 or bfloat16, or keep {name} in float32"
    return Finding("activations", f"{says}: {what}", "float16 overflow", change, facts)


@torch.inference_mode()
def _precision(probe: Probe, reading: Reading) -> list[Finding]:
    worst = 0.0
    for x_0, x, c, condition in _inputs(probe, reading):
        exact = probe.subject.predict(x, c, condition).double()
        with torch.autocast(x.device.type, torch.bfloat16):
            rounded = probe.subject.predict(x, c, condition).double()
        moved = float((rounded - exact).square().mean()) * float(c.c_out) ** 2
        error = float((c.c_skip * x + c.c_out * exact - x_0).square().mean())
        added = moved / max(error, (LEVEL * reading.frame.scale) ** 2)
        worst = max(worst, added if added == added else torch.inf)
    says = f"in bfloat16 one step has {percent(worst)} more error than in float32"
    if worst <= MOST_ADDED:
        return [Finding("bfloat16", says, facts={"added": worst})]
    return [Finding("bfloat16", f"{says}: too much", "bfloat16 error", "run it in float32", {"added": worst})]
