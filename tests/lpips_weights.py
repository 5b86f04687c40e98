"""A file of LPIPS weights with AlexNet, all random."""

from pathlib import Path

import torch

WIDTHS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


def lpips_file(folder: Path, seed: int = 0) -> Path:
    """``folder``/lpips.pth, named as in the packages lpips and torchmetrics."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for stage, (place, (out, width, side)) in enumerate(WIDTHS.items()):
        weight = torch.randn(out, width, side, side, generator=generator) * (2 / (width * side**2)) ** 0.5
        tensors |= {
            f"net.slice{stage + 1}.{place}.weight": weight,
            f"net.slice{stage + 1}.{place}.bias": torch.zeros(out),
        }
        tensors[f"lin{stage}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=generator)
    torch.save(tensors, folder / "lpips.pth")
    return folder / "lpips.pth"
