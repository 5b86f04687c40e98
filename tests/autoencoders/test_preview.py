"""The linear preview of latents: exact where pictures are linear in them, and refused where its file is another's."""

import json
from pathlib import Path

import pytest
import torch

from sumi.autoencoders.preview import LinearPreview
from sumi.errors import InputError


def test_colours_that_are_linear_in_latents_are_found() -> None:
    """Of squares of 4·4 pixels in the colour A z + b, with noise of mean 0 in each square: A and b to 1e-6."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(8, 5, 6, 4, generator=generator)
    a, b = 0.1 * torch.randn(3, 5, generator=generator), torch.tensor([0.1, -0.2, 0.0])
    small = torch.einsum("oc,nchw->nohw", a, latents) + b[:, None, None]
    images = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    images[:, :, ::2] += 0.3
    images[:, :, 1::2] -= 0.3
    found = LinearPreview.fit(latents, images)
    torch.testing.assert_close(found.weight, a, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.bias, b, atol=1e-6, rtol=0)
    torch.testing.assert_close(found(latents), small.clamp(-1, 1), atol=1e-5, rtol=0)
    assert found(100 * latents).abs().max() == 1


def test_a_channel_that_is_constant_or_there_twice_has_no_say() -> None:
    """Least squares of the smallest norm: finite, and the fit stays exact."""
    z = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    latents = torch.cat([z, z, torch.zeros_like(z)], 1)
    found = LinearPreview.fit(latents, 0.2 * z)
    torch.testing.assert_close(found.weight, torch.tensor([[0.1, 0.1, 0.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "delete it"),
        ("[]", "is no preview of latents; delete it"),
        (json.dumps({"weight": [[1.0], [1.0, 2.0]], "bias": [0.0]}), "is no preview of latents; delete it"),
        (json.dumps({"weight": [[1.0, 2.0]], "bias": [0.0]}), "is a preview of other latents; delete it"),
    ],
)
def test_a_file_that_is_no_preview_of_these_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "preview.json"
    file.write_text(text)
    with pytest.raises(InputError, match=problem):
        LinearPreview.read(file, 1, 3)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "preview.json"
    preview = LinearPreview(torch.tensor([[0.1, -0.2]]), torch.tensor([0.3]))
    file.write_text(preview.to_json())
    back = LinearPreview.read(file, 1, 2)
    assert torch.equal(back.weight, preview.weight)
    assert torch.equal(back.bias, preview.bias)
