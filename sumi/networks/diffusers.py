"""Networks of the library diffusers, with its own weights: what `sumi.interop` imports, and what can be trained here.

    time input of the library = time_scale · c_noise + time_offset

A chain of T = 1000 steps has the same time input there and here; another T, and flow matching, have another scale. A
class enters as its number: the vector of the condition is one-hot, with one more place for "no class".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition

Kind = Literal["UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel"]


def diffusers(wanted: str) -> Any:
    """The library, for what is ``wanted``. Raises InputError where it is not installed."""
    try:
        library = import_module("diffusers")
    except ImportError as error:
        raise InputError(
            f"{wanted}: needs {error.name or 'diffusers'}, which is not installed; pip install 'sumi[interop]'"
        ) from None
    library.utils.logging.set_verbosity_error()
    return library


def made(kind: str, settings: str | Mapping[str, Any], field: str) -> Any:
    """A new module of the library's class ``kind`` with these settings, which may be JSON. Raises InputError."""
    match settings:
        case str() as text:
            try:
                settings = json.loads(text)
            except ValueError as error:
                raise InputError(f"{field}: is not JSON ({error}); write a table of {kind}'s settings") from None
    if not hasattr(settings, "items"):
        raise InputError(f"{field}: is no table; write a JSON table of {kind}'s settings")
    found = getattr(diffusers(field.partition(".")[0]), kind)
    try:
        return found(**settings)
    except (TypeError, ValueError, NotImplementedError, ZeroDivisionError, KeyError, AttributeError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{field}: {kind} refuses them ({what}); compare with the library's config.json") from None


@dataclass(frozen=True)
class DiffusersNetwork:
    """A network of diffusers: a U-Net, one that attends to tokens, or DiT."""

    name: ClassVar[str] = "diffusers"

    kind: Kind = field(default="UNet2DModel", metadata={"help": "the class in diffusers"})
    settings: str = field(default="{}", metadata={"help": "its settings as JSON, as config.json of diffusers has them"})
    time_scale: float = field(default=1.0, metadata={"help": "of c_noise in the network's time input"})
    time_offset: float = field(default=0.0, metadata={"help": "added to it"})
    embedding: int = field(
        default=128, metadata={"most": 65_536, "help": "width of a condition's vector: the number of classes and one"}
    )

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "OfDiffusers":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for settings that the class refuses.
        """
        if len(shape) != 3:
            raise InputError(f"network=diffusers: takes images, not data of shape {shape}; set network=mlp")
        channels, height, width = shape
        taken = channels + (0 if condition is None else condition.channels)
        try:
            settings = json.loads(self.settings)
            settings |= {"in_channels": taken, "out_channels": outputs * channels}
        except (ValueError, TypeError):
            settings = self.settings  # which `made` refuses
        else:
            settings["sample_size"] = height if height == width else [height, width]
            if settings.get("num_class_embeds"):
                settings["num_class_embeds"] += 1  # the row of "no class"
        return OfDiffusers(made(self.kind, settings, "network.settings"), self)


class OfDiffusers(nn.Module):
    """A network of diffusers as one of ours: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, C', H, W)``.

    Its time input is as at the top of this module.
    """

    def __init__(self, network: nn.Module, config: DiffusersNetwork) -> None:
        super().__init__()
        self.of_library, self.config = network, config
        self.call: _Call = _CALLS[config.kind]

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        time = self.config.time_scale * c_noise + self.config.time_offset
        if condition.image is not None:
            x = torch.cat([x, condition.image.to(x.dtype)], 1)
        return self.call(self.of_library, x, time, condition).to(x.dtype)


SIZES: Final = 6
"""Numbers at the end of a vector that are sizes (`sumi.conditioning.picture_sizes`)."""
_PER_MASK: Final = 10_000
"""The library adds this times (mask - 1) to the logits of attention."""

_Call = Callable[[nn.Module, Tensor, Tensor, NetworkCondition], Tensor]


def _classes(condition: NetworkCondition) -> Tensor | None:
    """The numbers of the classes (N,), of one-hot vectors."""
    return None if condition.vector is None else condition.vector.argmax(1)


def _unet(network: nn.Module, x: Tensor, time: Tensor, condition: NetworkCondition) -> Tensor:
    return network(x, time, class_labels=_classes(condition), return_dict=False)[0]


def _sized(network: nn.Module, condition: NetworkCondition) -> dict[str, Tensor] | None:
    """Of a vector the summary of a text and the six sizes, as Stable Diffusion XL takes them apart."""
    settings: Any = network.config
    if settings.addition_embed_type is None:
        return None
    if condition.vector is None:
        raise InputError("condition: the network takes a text's summary and sizes; set conditioning=text,sizes")
    return {"text_embeds": condition.vector[:, :-SIZES], "time_ids": condition.vector[:, -SIZES:]}


def _attending(network: nn.Module, x: Tensor, time: Tensor, condition: NetworkCondition) -> Tensor:
    if condition.tokens is None:
        raise InputError("condition: UNet2DConditionModel attends to tokens, and there are none; set conditioning=text")
    mask = None if condition.log_weights is None else (1 + condition.log_weights / _PER_MASK).to(x.dtype)
    return network(
        x,
        time,
        condition.tokens,
        class_labels=_classes(condition) if network.class_embedding is not None else None,
        added_cond_kwargs=_sized(network, condition),
        encoder_attention_mask=mask,
        return_dict=False,
    )[0]


def _transformer(network: nn.Module, x: Tensor, time: Tensor, condition: NetworkCondition) -> Tensor:
    labels = _classes(condition)
    if labels is None:
        raise InputError("condition: DiTTransformer2DModel takes classes; set conditioning=labels")
    return network(x, timestep=time, class_labels=labels, return_dict=False)[0]


_CALLS: Final[dict[str, _Call]] = {
    "UNet2DModel": _unet,
    "UNet2DConditionModel": _attending,
    "DiTTransformer2DModel": _transformer,
}
