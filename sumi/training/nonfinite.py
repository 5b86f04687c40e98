"""Where a training step first becomes non-finite: hooks on every layer, for a second run of a step that has failed."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from torch import Tensor, nn

from sumi.training.sharding import rows

OF_GRADIENT: Final = "the gradient of"


@contextmanager
def watching(objective: nn.Module) -> Generator[list[str]]:
    """The places in ``objective`` that are not finite, in the order of computation, while the context is open.

    First come inputs and outputs of layers, then the gradients of parameters. Names are those of the checkpoints.
    """
    found: list[str] = []

    def note(place: str, *values: object) -> None:
        if not all(map(_finite, values)):
            found.append(place)

    def watch(name: str, layer: nn.Module) -> None:
        def before(_: nn.Module, inputs: object, options: object) -> None:
            note(f"the input of {name}", inputs, options)

        def after(_: nn.Module, __: object, output: object) -> None:
            note(f"the output of {name}" if name else "the loss", output)

        hooks.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
        hooks.callback(layer.register_forward_hook(after).remove)

    def watch_gradient(name: str, parameter: nn.Parameter) -> None:
        def after(accumulated: Tensor) -> None:
            note(f"{OF_GRADIENT} {name}", accumulated.grad)

        hooks.callback(parameter.register_post_accumulate_grad_hook(after).remove)

    with ExitStack() as hooks:
        for name, layer in objective.named_modules():
            watch(name.removeprefix("model."), layer)
        for name, parameter in objective.named_parameters():
            if parameter.requires_grad:
                watch_gradient(name.removeprefix("model."), parameter)
        yield found


def _finite(value: Any) -> bool:
    match value:
        case Tensor():
            return bool(rows(value).isfinite().all())
        case tuple() | list():
            return all(map(_finite, value))
        case dict():
            return all(map(_finite, value.values()))
        case _:
            return True
