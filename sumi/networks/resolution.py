"""What image networks of several resolutions have in common: the shape of their levels."""

from dataclasses import dataclass, field

from sumi.errors import InputError


@dataclass(frozen=True)
class LevelsConfig:
    """Channels, blocks and attention of each level, full resolution first; each level halves the sides.

    Widths in multiples of 32 fill the vector units of CPUs and the matrix units of GPUs.
    """

    widths: tuple[int, ...] = field(
        default=(32, 64, 128), metadata={"help": "channels of each level, full resolution first; multiples of 32"}
    )
    blocks: tuple[int, ...] = field(default=(1, 1, 3), metadata={"help": "residual blocks of each level"})
    attention: tuple[int, ...] = field(
        default=(), metadata={"help": "levels whose blocks are followed by self-attention (0 is full resolution)"}
    )
    embedding: int = field(default=192, metadata={"help": "width of the noise embedding; even"})
    dropout: float = field(default=0.0, metadata={"help": "share of channels' values dropped in training, 0 <= p < 1"})
    group_width: int = field(
        default=16, metadata={"help": "channels that group norm takes together; divides every width"}
    )

    def __post_init__(self) -> None:
        if not self.widths:
            raise InputError("network.widths is empty: give the channels of at least one level, such as [32, 64].")
        if self.group_width < 1:
            raise InputError(f"network.group_width is {self.group_width}: give 1 or more, such as 16.")
        for width in self.widths:
            if width < 1 or width % self.group_width:
                raise InputError(
                    f"network.widths has {width}, which is no multiple of network.group_width = {self.group_width}: "
                    "use multiples of 32."
                )
        if len(self.blocks) != len(self.widths):
            raise InputError(
                f"network.blocks has {len(self.blocks)} numbers for the {len(self.widths)} levels of network.widths: "
                "give one a level."
            )
        if any(count < 1 for count in self.blocks):
            raise InputError(f"network.blocks is {list(self.blocks)}: give every level 1 block or more.")
        if self.embedding < 2 or self.embedding % 2:
            raise InputError(f"network.embedding is {self.embedding}: give an even number of 2 or more.")
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"network.dropout is {self.dropout}: give a number from 0 up to, not including, 1.")

    def check_attention(self, name: str, levels: tuple[int, ...], head_width: int, lowest: int = 0) -> None:
        """Refuse levels for attention that are not there, or whose width has no whole heads. Raises InputError."""
        for level in levels:
            if not lowest <= level < len(self.widths):
                raise InputError(
                    f"network.{name} names level {level}, but network.widths has only levels {lowest} to "
                    f"{len(self.widths) - 1}: name one of these."
                )
            if self.widths[level] % head_width:
                raise InputError(
                    f"network.{name} names level {level}, whose width is {self.widths[level]}: "
                    f"attention takes multiples of {head_width}."
                )

    def check_images(self, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """``shape`` = (C, H, W). Raises InputError where these are no images, or too small, see `check_size`."""
        if len(shape) != 3:
            raise InputError(f"network={name}: takes images, not data of shape {shape}; set network=mlp")
        channels, height, breadth = shape
        self.check_size((height, breadth))
        return channels, height, breadth

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse an image size (height, width) with fewer pixels a side than the levels halve.

        Raises:
            InputError: naming ``network.widths`` and how many levels the size allows.
        """
        smallest = min(size)
        if smallest < 2 ** (len(self.widths) - 1):
            levels = max(smallest, 1).bit_length()
            raise InputError(
                f"network.widths has {len(self.widths)} levels, too many for images of {size[0]}x{size[1]}: "
                f"give at most {levels}, or larger images."
            )
