"""The configuration shared by image networks of several resolutions: the shape of their levels."""

from dataclasses import dataclass, field

from sumi.errors import InputError


@dataclass(frozen=True)
class LevelsConfig:
    """Channels, blocks and attention of each level, full resolution first; each level halves the sides.

    Widths in multiples of 32 use the vector units of CPUs and the matrix units of GPUs fully.
    """

    widths: tuple[int, ...] = field(
        default=(32, 64, 128), metadata={"help": "channels of each level, full resolution first; multiples of 32"}
    )
    blocks: tuple[int, ...] = field(default=(1, 1, 3), metadata={"most": 1000, "help": "residual blocks of each level"})
    attention: tuple[int, ...] = field(
        default=(), metadata={"help": "levels whose blocks are followed by self-attention (0 is full resolution)"}
    )
    embedding: int = field(default=192, metadata={"most": 16_384, "help": "width of the noise embedding; even"})
    dropout: float = field(default=0.0, metadata={"help": "probability of dropping a value in training, 0 ≤ p < 1"})
    group_width: int = field(default=16, metadata={"help": "channels per group of group norm; divides every width"})

    def __post_init__(self) -> None:
        if not self.widths:
            raise InputError("network.widths: is empty; give the channels of at least one level, such as 32,64")
        if self.group_width < 1:
            raise InputError(f"network.group_width: {self.group_width} is too few; give 1 or more, such as 16")
        for width in self.widths:
            if width < 1 or width % self.group_width:
                raise InputError(
                    f"network.widths: {width} is not a multiple of network.group_width = {self.group_width}; "
                    "give multiples of 32"
                )
        if len(self.blocks) != len(self.widths):
            raise InputError(
                f"network.blocks: has {len(self.blocks)} numbers for the {len(self.widths)} levels of network.widths; "
                "give one per level"
            )
        if any(count < 1 for count in self.blocks):
            raise InputError(
                f"network.blocks: {list(self.blocks)} leaves a level empty; give 1 block or more per level"
            )
        if self.embedding < 2 or self.embedding % 2:
            raise InputError(
                f"network.embedding: {self.embedding} is not an even number of 2 or more; give such as 192"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"network.dropout: {self.dropout} is not in [0, 1); give such as 0.1")

    def check_attention(self, name: str, levels: tuple[int, ...], head_width: int, lowest: int = 0) -> None:
        """Raises InputError for attention on a missing level, or on one whose width the heads do not divide."""
        for level in levels:
            if not lowest <= level < len(self.widths):
                raise InputError(
                    f"network.{name}: there is no level {level}; choose from {lowest} to {len(self.widths) - 1}, "
                    "the levels of network.widths"
                )
            if self.widths[level] % head_width:
                raise InputError(
                    f"network.{name}: level {level} has width {self.widths[level]}, not a multiple of {head_width}; "
                    "change network.widths or choose another level"
                )

    def check_images(self, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """``shape`` as (C, H, W). Raises InputError for data that are not images, or too small (`check_size`)."""
        if len(shape) != 3:
            raise InputError(f"network={name}: takes images, not data of shape {shape}; set network=mlp")
        channels, height, breadth = shape
        self.check_size((height, breadth))
        return channels, height, breadth

    def check_size(self, size: tuple[int, int]) -> None:
        """Check that an image size (height, width) can be halved between the levels.

        Raises:
            InputError: names ``network.widths`` and how many levels the size allows.
        """
        smallest = min(size)
        if smallest < 2 ** (len(self.widths) - 1):
            levels = max(smallest, 1).bit_length()
            raise InputError(
                f"network.widths: {len(self.widths)} levels are too many for images of {size[0]}x{size[1]}; "
                f"give at most {levels}, or larger images"
            )
