"""k-diffusion's convolutional U-Net gives the numbers of the library, version 0.1.1.post1."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sumi.denoising.parameterization import PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.sources import import_run, open_source
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.networks.image_v1 import ImageV1Config
from sumi.process.exploding import EDM

CONFIG = {"type": "image_v1", "input_channels": 3, "input_size": [8, 8], "patch_size": 2, "sigma_data": 0.6}
SHAPE = ImageV1Config(2, 32, (32, 64), (1, 2), (1,), 16)
DENOISED = {
    0.2: [0.7871898, 1.9171805, -0.5248155, 1.1439941, 0.6479845, 0.3574183, -0.766408, 0.2762205],
    1.5: [0.7698796, 1.2978777, 0.9490422, 0.7668362, 1.4036155, 0.7289578, 0.9141405, 0.6167839],
}
"""A row of layers.Denoiser(ImageDenoiserModelV1(3, 16, [1, 2], [32, 64], [False, True], patch_size=2), 0.6)."""


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Of that network, as the library names them, with the filters that it keeps."""
    generator, found = torch.Generator().manual_seed(5), SHAPE.build((3, 8, 8)).state_dict()
    for _, w in sorted(found.items()):
        size = w[0].numel() if w.ndim > 1 else 8
        w.copy_(torch.randn(w.shape, generator=generator) / max(size, 8) ** 0.5)
    return found | {"u_net.d_blocks.1.0.kernel": torch.ones(4, 4), "u_net.u_blocks.0.4.kernel": torch.ones(4, 4)}


def saved(file: Path, tensors: dict[str, Tensor], **settings: Any) -> Path:
    """As convert_for_inference writes it."""
    about = {"config": json.dumps({"model": CONFIG | settings})}
    save_file({name: value.contiguous() for name, value in tensors.items()}, file, about)
    return file


def check(file: Path) -> None:
    model = open_source(file, device="cpu").diffusion
    denoiser = model.gaussian_denoiser()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for sigma, row in DENOISED.items():
        t = denoiser.schedule.time(-2 * torch.tensor(sigma, dtype=torch.float64).log())
        with torch.no_grad():
            torch.testing.assert_close(denoiser(x, float(t)).clean[1, 0, 3], torch.tensor(row), rtol=0, atol=2e-6)


def test_it_gives_the_numbers_of_the_library(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    file = saved(tmp_path / "a.safetensors", tensors)
    check(file)
    source = import_run(file, tmp_path / "run", device="cpu")
    assert source.notes == ()
    model = load(tmp_path / "run", DiffusionModel, device="cpu")
    assert model.config.network == SHAPE
    assert model.config.parameterization == PredictPreconditioned(0.6)
    assert model.config.schedule == EDM()
    assert model.sample(2, steps=3).isfinite().all()


def test_a_variance_an_augmentation_and_levels_that_are_skipped_make_no_difference(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    more = {f"inner_model.{name}": value for name, value in tensors.items()}
    more["inner_model.mapping_cond.weight"] = torch.ones(16, 9)
    for leaf in ("weight", "bias"):
        last = more[f"inner_model.proj_out.{leaf}"]
        more[f"inner_model.proj_out.{leaf}"] = torch.cat([last, last[:1]])
    check(saved(tmp_path / "a.safetensors", more, has_variance=True))
    deeper = {
        name.replace("d_blocks.1", "d_blocks.2").replace("d_blocks.0", "d_blocks.1"): value
        for name, value in tensors.items()
    }
    deeper["u_net.d_blocks.0.1.main.2.weight"] = torch.ones(8, 8, 3, 3)
    deeper["u_net.u_blocks.2.0.main.2.weight"] = torch.ones(8, 16, 3, 3)
    check(saved(tmp_path / "b.safetensors", deeper, skip_stages=1))


def test_what_it_attends_to_or_is_conditioned_on_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    for name, value in (
        ("mapping_cond.weight", torch.ones(16, 5)),
        ("u_net.d_blocks.1.3.kv_proj.weight", torch.ones(8, 8)),
    ):
        with pytest.raises(InputError, match="takes further numbers or states as a condition"):
            open_source(saved(tmp_path / "a.safetensors", {**tensors, name: value}))
