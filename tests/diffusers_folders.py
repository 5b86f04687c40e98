"""Tiny networks of diffusers, and folders of pipelines of them."""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch

UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}


def unet(**settings: Any) -> Any:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(**{**UNET, **settings}).eval()


def folder(path: Path, network: Any, scheduler: Any, **parts: Any) -> Path:
    """A pipeline's folder, as `DiffusionPipeline.save_pretrained` lays it out."""
    network.save_pretrained(path / "unet")
    scheduler.save_pretrained(path / "scheduler")
    for name, part in parts.items():
        part.save_pretrained(path / name)
    (path / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    return path
