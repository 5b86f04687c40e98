"""A few random pictures of classes named by letters, and settings of runs that learn them in seconds."""

import torch

SETTINGS = [
    "training.batch_size=8",
    "training.sample_every=0",
    "training.checkpoint_every=2",
]
NETWORK = ["network.widths=32,32", "network.blocks=1,1", "network.embedding=32"]
TABLE = "conditioner.labels.table.weight"


def pictures(names: str, side: int = 8, channels: int = 1) -> list[tuple[torch.Tensor, str]]:
    """Six pictures of each class."""
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randint(256, (channels, side, side), generator=generator, dtype=torch.uint8), name)
        for name in names
        for _ in range(6)
    ]
