"""A network of one's own: any module that is given in Python, of which the run folder holds the weights and no code.

    forward(x: (N, …), c_noise: (N,)) -> like x, with twice as many channels where the variance is learned

and ``forward(x, c_noise, condition: NetworkCondition)`` where the model is conditioned on anything. What loads such a
run gives the network again; only its weights come from the run.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from inspect import signature
from typing import ClassVar, Self, cast

import torch
from torch import nn

from sumi.errors import InputError, shortened
from sumi.networks.condition import ConditionShape, NetworkCondition

Network = nn.Module | Callable[[], nn.Module]
"""A module, of which a copy is trained, or a callable that makes one (under the run's seed)."""


@dataclass(frozen=True)
class OwnNetwork:
    """The settings of a network that is given; ``network`` is the network itself."""

    name: ClassVar[str] = "own"

    description: str = field(default="", metadata={"help": "the class of the network that was given, and its size"})
    embedding: int = field(
        default=128, metadata={"most": 16_384, "help": "width of the vectors and tokens made of conditions"}
    )
    network: Network | None = field(default=None, compare=False, repr=False, metadata={"stored": False})

    @classmethod
    def of(cls, network: Network) -> Self:
        """For this module, or what makes one. Raises InputError where it is neither."""
        with torch.random.fork_rng(devices=[]):
            module = _module(network)
        kind, count = type(module), sum(p.numel() for p in module.parameters() if not nn.parameter.is_lazy(p))
        return cls(f"{kind.__qualname__}, {count:,} parameters", network=network)

    def given(self, network: Network) -> Self:
        """This, read from a run folder, with its network. Raises InputError for a network of another description."""
        found = type(self).of(network)
        if found.description != self.description:
            raise InputError(
                f"network: the run has {self.description}, and {found.description} is given; give that one"
            )
        return type(self)(self.description, self.embedding, network)

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> nn.Module:
        """A copy of the network, or a new one. Raises InputError where there is none."""
        del shape, outputs, condition  # what the network takes is up to it: `check` tries
        if self.network is None:
            missing = f"is a run of {self.description}, of which it holds no code" if self.description else "is missing"
            raise InputError(f"network: {missing}; give it in Python: network=…")
        found = _module(self.network)
        return deepcopy(found) if found is self.network else found

    def check(
        self, network: nn.Module, shape: tuple[int, ...], outputs: int, condition: NetworkCondition | None
    ) -> None:
        """Try it on two items of ``shape`` with their condition.

        Raises InputError for output of another shape, for a network that fails, and for one with nothing to train.
        """
        x, wanted = torch.zeros(2, *shape), (2, outputs * shape[0], *shape[1:])
        given = (x, torch.zeros(2)) if condition is None else (x, torch.zeros(2), condition)
        network.eval()
        try:
            with torch.no_grad():
                found = network(*given)
        except Exception as error:  # whatever the user's own code raises
            names = "(x, c_noise)" if condition is None else "(x, c_noise, condition)"
            raise InputError(f"network: forward{names} fails for x of {tuple(x.shape)}: {shortened(error)}") from error
        network.train()
        if condition is None and next(network.parameters(), None) is None:
            raise InputError(f"network: {type(network).__name__} has no parameters to train; give one that has")
        match cast(object, found):
            case torch.Tensor(shape=got) if tuple(got) == wanted:
                return
            case torch.Tensor(shape=shape):
                got = tuple(shape)
            case other:
                got = type(other).__name__
        why = ", twice the channels as variance=learned" if outputs > 1 else ""
        raise InputError(f"network: gives {got} of an input of {tuple(x.shape)}; it must give {wanted}{why}")


def _module(network: object, *, made: bool = False) -> nn.Module:
    match network:
        case nn.Module():
            return network
        case _ if callable(network) and not made:
            try:
                signature(network).bind()
            except (TypeError, ValueError) as error:
                name = getattr(network, "__name__", type(network).__name__)
                raise InputError(
                    f"network: {name} cannot be called without arguments ({error}); give the module that it makes"
                ) from None
            return _module(network(), made=True)
        case other:
            raise InputError(
                f"network: {type(other).__name__} is no torch.nn.Module; give one, or a callable that makes one"
            )
