"""Networks from files: Inception-v3 is the known one, images are prepared as it wants, and no other file is read.

The numbers of `torch-fidelity` 0.4 and `timm` 1.0 stand here, as both need torchvision.
"""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from sumi.errors import InputError, SumiError
from sumi.metrics.features.inception import FID_CLASSES, IMAGENET_CLASSES, SEEN, Inception, open_inception
from sumi.metrics.features.open import open_space
from sumi.metrics.features.pretrained import Preprocessing

CPU = torch.device("cpu")
NAMES = "fafa3415657058129e4a7af77948625b3355ed5914dedf6216076dd4be883d60"
# of each set of weights: the first features, their norm, the likeliest class and its probability
EXPECTED = {
    IMAGENET_CLASSES: ([53.865616, 0.45951468, 26.157598, 13.446505], 1094.1543186, 18, 0.892831119),
    FID_CLASSES: ([0.0, 0.35453469, 2.6105678, 39.657829], 935.9989527, 49, 0.999997451),
}


def weights(classes: int) -> dict[str, Tensor]:
    """Drawn by numpy, of a size that keeps values near 1 through all layers."""
    source = np.random.Generator(np.random.Philox(classes))
    draws: dict[str, Tensor] = {}
    for name, own in sorted(Inception(classes).state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        values = torch.from_numpy(source.random(tuple(own.shape), dtype=np.float32))
        if own.ndim > 1:
            draws[name] = (values - 0.5) * (24 / own[0].numel()) ** 0.5
        else:
            draws[name] = values + 0.5 if name.endswith(("running_var", "bn.weight")) else values - 0.5
    return draws


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for classes in (FID_CLASSES, IMAGENET_CLASSES):
        found[classes] = folder / f"{classes}.pth"
        extra = {"AuxLogits.fc.bias": torch.zeros(1000)} if classes == IMAGENET_CLASSES else {}
        torch.save(weights(classes) | extra, found[classes])
    return found


def images(count: int, channels: int, side: int) -> Tensor:
    source = np.random.Generator(np.random.Philox(7))
    return torch.from_numpy(source.integers(256, size=(count, channels, side, side))).float() / 127.5 - 1


def test_the_networks_have_the_parameters_and_names_that_are_known() -> None:
    """23,834,568 of torchvision's 27,161,264 are not of its auxiliary head (timm's too); 8 classes more have 2049 each.

    The names are those that timm and torch-fidelity have, told by a hash of their list.
    """
    for classes, count in ((FID_CLASSES, 23_834_568 + 8 * 2049), (IMAGENET_CLASSES, 23_834_568)):
        network = Inception(classes)
        assert sum(p.numel() for p in network.parameters()) == count
    names = "\n".join(f"{name} {tuple(t.shape)}" for name, t in sorted(network.state_dict().items()))
    assert hashlib.sha256(names.encode()).hexdigest() == NAMES


@pytest.mark.parametrize("classes", [FID_CLASSES, IMAGENET_CLASSES])
def test_features_and_classes_are_those_of_independent_code(classes: int, files: dict[int, Path]) -> None:
    """Of the same weights and image, by torch-fidelity (1008 classes) and by timm (1000).

    The same bits on one machine; 1e-4 is for another one's rounding.
    """
    space = open_inception(files[classes], CPU)
    found = space.features(images(1, 3, 299))
    message = space.classes_of(found)
    assert message is not None
    assert found.shape == (1, 2048)
    expected, norm, top, probability = EXPECTED[classes]
    assert found[0, :4].tolist() == pytest.approx(expected, rel=1e-4)
    assert float(found.norm()) == pytest.approx(norm, rel=1e-5)
    assert int(message.argmax()) == top
    assert float(message.max()) == pytest.approx(probability, rel=1e-3)


def test_a_file_of_either_kind_and_age_is_the_same_space(files: dict[int, Path], tmp_path: Path) -> None:
    """The published file was written before torch wrote zip files; its counts of batches are missing, too."""
    tensors, space = weights(FID_CLASSES), open_inception(files[FID_CLASSES], CPU)
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "new.safetensors")
    for name in ("old.pth", "new.safetensors"):
        assert open_inception(tmp_path / name, CPU).space == space.space
    assert space.space.sha256 != open_inception(files[IMAGENET_CLASSES], CPU).space.sha256
    tensors["fc.bias"] = tensors["fc.bias"] + 1
    save_file(tensors, tmp_path / "other.safetensors")
    assert open_inception(tmp_path / "other.safetensors", CPU).space.sha256 != space.space.sha256


def test_an_image_has_the_same_features_in_any_company_grey_or_in_colour(files: dict[int, Path]) -> None:
    """Batch norm goes by what it learned: in training mode it would mix the images."""
    space = open_inception(files[FID_CLASSES], CPU)
    grey = images(3, 1, 12)
    together, colour = space.features(grey), space.features(grey.expand(-1, 3, -1, -1))
    assert torch.equal(together, colour)
    torch.testing.assert_close(space.features(grey[1:2])[0], together[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="4 channels"):
        space.features(images(1, 4, 8))


def test_smaller_images_are_enlarged_as_the_published_figures_have_it() -> None:
    """Bilinear between the middles of pixels, as pytorch-fid does; nothing is smoothed then."""
    for side in (8, 32, 200):
        x = images(2, 3, side)
        expected = F.interpolate(x, (299, 299), mode="bilinear", align_corners=False)
        torch.testing.assert_close(SEEN(x), expected, rtol=0, atol=2e-5)


def test_larger_images_are_smoothed_before_they_are_made_smaller() -> None:
    """A board of single pixels, black and white, becomes grey; skipping pixels leaves bands of black and white."""
    board = (torch.arange(640)[:, None] + torch.arange(640)) % 2 * 2.0 - 1
    x = board.expand(1, 3, -1, -1)
    assert SEEN(x)[..., 2:-2, 2:-2].abs().max() < 0.1
    assert F.interpolate(x, (299, 299), mode="bilinear").abs().max() > 0.9


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(40, 56), (90, 61)])
def test_images_are_prepared_as_pillow_does(interpolation: str, shape: tuple[int, int]) -> None:
    """Resized to 64 pixels on the shorter side, and the middle cut out; Pillow rounds to whole numbers twice.

    Half of one, times the weights' absolute sum of up to 1.3, and half of one again.
    No white beside black: Pillow also clips what overshoots along rows before it looks along columns.
    """
    source = np.random.default_rng(3).integers(80, 176, size=(*shape, 3), dtype=np.uint8)
    seen = Preprocessing(64, (48, 56), interpolation, (0.0,) * 3, (1.0,) * 3)
    found = seen(torch.from_numpy(source).permute(2, 0, 1)[None].float() / 127.5 - 1)[0]
    height, width = (64 * side // min(shape) for side in shape)
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    top, left = (height - 48) // 2, (width - 56) // 2
    pillow = np.asarray(Image.fromarray(source).resize((width, height), method))[top : top + 48, left : left + 56]
    assert (255 * found - torch.from_numpy(pillow.copy()).permute(2, 0, 1)).abs().max() < 1.2
    shifted = Preprocessing(64, (48, 56), interpolation, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    again = shifted(torch.from_numpy(source).permute(2, 0, 1)[None].float() / 127.5 - 1)[0]
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1.0), (0.3, 2.0)]):
        torch.testing.assert_close(again[channel], (found[channel] - mean) / std, rtol=0, atol=1e-6)


class Harmful:
    """A pickle of this makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_file_of_weights_is_never_run(tmp_path: Path) -> None:
    touched, file = tmp_path / "touched", tmp_path / "harmful.pth"
    torch.save({"fc.bias": Harmful(touched)}, file)
    with pytest.raises(InputError, match="holds more than tensors"):
        open_inception(file, CPU)
    file.write_bytes(pickle.dumps(Harmful(touched)))
    with pytest.raises(InputError):
        open_inception(file, CPU)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("mine.npy", "features: mine.npy is no network"),
        ("mine.npz", "features: mine.npz is no network"),
        ("", "features: an empty name is no network"),
        ("x" * 5000, "File name too long; check the path"),
        ("a\0b", "not a readable file of weights"),
        ("pickled.pth", "pickled.pth: holds more than tensors"),
        ("deep", "config.json: no JSON"),
        ("list", "config.json: no JSON object"),
        ("folder", "config.json: no such file"),
        ("numbers", "config.json: is of a '3' model"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(
    name: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    Path("pickled.pth").write_bytes(pickle.dumps({"a": 1}, protocol=4))
    for folder, text in (("deep", "[" * 100_000), ("list", "[1]"), ("numbers", '{"model_type": 3}')):
        Path(folder).mkdir()
        Path(folder, "config.json").write_text(text)
    Path("folder").mkdir()
    with pytest.raises(InputError, match=answer) as refused:
        open_space(name, torch.device("cpu"))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert not recwarn.list


def test_what_is_no_inception_is_refused_with_the_way_out(files: dict[int, Path], tmp_path: Path) -> None:
    tensors = weights(FID_CLASSES)
    missing = {name: t for name, t in tensors.items() if name != "Mixed_6b.branch7x7_2.bn.bias"}
    for name, content, words in (
        ("missing.pth", missing, "'Mixed_6b.branch7x7_2.bn.bias' is missing or of another shape"),
        ("shape.pth", tensors | {"fc.weight": torch.zeros(1008, 2)}, "'fc.weight' is missing or of another shape"),
        ("more.pth", tensors | {"Mixed_8a.x": torch.zeros(1)}, "'Mixed_8a.x' is not of Inception-v3"),
        ("ten.pth", tensors | {"fc.bias": torch.zeros(10)}, "no Inception-v3 of 1008 or 1000 classes"),
        ("list.pth", [1, 2], "no dictionary of tensors"),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(InputError, match=words) as error:
            open_space(str(tmp_path / name), CPU)
        assert "pytorch-fid" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no such file; get pt_inception"):
        open_space(str(tmp_path / "nowhere.pth"), CPU)
    (tmp_path / "cut.pth").write_bytes(files[FID_CLASSES].read_bytes()[:-5000])
    with pytest.raises(InputError, match="not a readable file of weights"):
        open_space(str(tmp_path / "cut.pth"), CPU)
    assert open_space("learned", CPU) is None


def test_a_name_that_tells_the_hash_is_held_to_it(files: dict[int, Path], tmp_path: Path) -> None:
    data = files[FID_CLASSES].read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    right, wrong = tmp_path / f"right-{digest[:8]}.pth", tmp_path / "wrong-01234567.pth"
    for file in (right, wrong):
        file.write_bytes(data)
    assert open_inception(right, CPU).space == open_inception(files[FID_CLASSES], CPU).space
    with pytest.raises(SumiError, match="not 01234567 as its name says"):
        open_inception(wrong, CPU)


def test_a_pipe_or_device_is_no_network(tmp_path: Path) -> None:
    """None of them is waited for, also inside of a folder."""
    pipe = tmp_path / "model/config.json"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    for given, what in ((pipe, "a named pipe"), (pipe.parent, "a named pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(InputError, match=f"^features: .* is {what}, not a file of weights; give a regular file"):
            open_space(str(given), torch.device("cpu"))
