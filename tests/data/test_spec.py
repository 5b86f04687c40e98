"""What one item of the data is: rounding, pictures, files, units, and what suits a model of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi import recipes
from sumi.boundary.config import from_json, to_json
from sumi.boundary.settings import override
from sumi.data.audio import AudioSpec
from sumi.data.config import DataConfig
from sumi.data.dataset import evenly, everything
from sumi.data.files import Writing
from sumi.data.images import ImageSpec
from sumi.data.load import load, peek
from sumi.data.molecules import MoleculeSpec
from sumi.data.spec import DataSpec, states
from sumi.data.specs import SPECS
from sumi.data.vectors import VectorDataset, VectorSpec
from sumi.errors import InputError
from sumi.recipes.configure import configure

DIGITS = ImageSpec(1, 8, 8, 17, ("0", "1"))
POINTS = VectorSpec(2, None, (1.0, 2.0), 3.0)
BITS = VectorSpec(4, 2, (0.5,) * 4, 0.5)
SOUND = AudioSpec(8000, 512, ("0", "1"))
MOLECULES = MoleculeSpec(("H", "C", "O"), (0, 0, 2, 0, 1), 1.5)


@pytest.mark.parametrize("spec", [DIGITS, POINTS, BITS, MOLECULES])
def test_a_spec_is_read_as_it_was_written(spec: DataSpec) -> None:
    assert from_json(SPECS, to_json(spec)) == spec


def test_specs_stand_in_files_as_they_always_have() -> None:
    """Old runs hold them, and the hash of a run's identity, which its checkpoints hold too, is of this JSON."""
    images = {"type": "images", "channels": 1, "height": 8, "width": 8, "levels": 17, "label_names": ["0", "1"]}
    points = {"type": "vectors", "dimensions": 2, "levels": None, "centre": [1.0, 2.0], "scale": 3.0, "label_names": []}
    bits = {"type": "vectors", "dimensions": 20, "levels": 2, "centre": [], "scale": 1.0, "label_names": []}
    assert to_json(DIGITS, later=False) == images
    assert from_json(ImageSpec, images) == DIGITS
    assert to_json(POINTS) == points
    assert to_json(load(DataConfig("heartbeat")).spec) == bits


@pytest.mark.parametrize("source", ["digits", "fashion", "swiss-roll", "heartbeat", "qm7-small"])
def test_what_is_known_unread_is_what_is_read(source: str) -> None:
    assert peek(DataConfig(source)) == load(DataConfig(source)).spec


def test_what_is_finished_stays_and_is_of_the_data() -> None:
    x = torch.randn(50, 1, 8, 8)
    values = torch.tensor(sorted({round(v, 6) for v in DIGITS.finish(x).flatten().tolist()}))
    assert values == pytest.approx(torch.linspace(-1, 1, 17), abs=1e-6)
    for spec, shape in ((DIGITS, (5, 1, 8, 8)), (POINTS, (5, 2)), (BITS, (5, 4))):
        x = torch.randn(shape)
        assert torch.equal(spec.finish(spec.finish(x)), spec.finish(x))
    assert torch.equal(POINTS.finish(torch.full((1, 2), 7.0)), torch.full((1, 2), 7.0))
    assert POINTS.clamp(torch.full((1, 2), 7.0)).max() == 7
    assert DIGITS.clamp(torch.full((1, 1, 8, 8), 7.0)).max() == 1


def test_states_are_evenly_spaced_with_both_ends() -> None:
    times, chosen = states([k / 10 for k in range(11)], torch.arange(11), 3)
    assert (times, chosen.tolist()) == ([0.0, 0.5, 1.0], [0, 5, 10])
    assert len(states([0.0, 1.0], torch.arange(2), 60)[0]) == 2
    assert evenly(1000, 5).tolist() == [0, 250, 500, 749, 999]
    assert evenly(3, 5).tolist() == [0, 1, 2]


def test_each_writes_files_that_say_how_they_were_made(tmp_path: Path) -> None:
    about = {"seed": 3}
    how = Writing(batch_size=4, title="bits", about=about)
    images = DIGITS.write(tmp_path / "a", lambda batch: torch.rand(len(batch), 1, 8, 8), range(5, 7), how)
    assert images == f"2 images and {tmp_path / 'a' / 'grid.png'}"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["00005.png", "00006.png", "grid.png"]
    with Image.open(tmp_path / "a/00006.png") as file:
        assert file.text["sumi"] == '{"seed": 3, "index": 6}'
    bits = torch.tensor([[0.2, -0.3, 1, -1]])
    vectors = BITS.write(tmp_path / "b", lambda _: bits, range(5, 6), how)
    assert vectors == f"{tmp_path / 'b' / 'vectors.npy'} and {tmp_path / 'b' / 'picture.png'}"
    assert np.load(tmp_path / "b/vectors.npy").tolist() == [[1, 0, 1, 0]]
    with Image.open(tmp_path / "b/picture.png") as file:
        assert file.text["sumi"] == '{"seed": 3, "start": 5, "count": 1, "index": 0}'


def test_points_are_written_by_one_process_as_one_array(tmp_path: Path) -> None:
    for field, how in (("format", Writing(4, "", {}, format="tar")), ("shard", Writing(4, "", {}, shard=(1, 2)))):
        with pytest.raises(InputError, match=rf"^{field}: vectors are written as one \.npy by one process"):
            POINTS.write(tmp_path, lambda batch: torch.zeros(len(batch), 2), range(2), how)
    assert not list(tmp_path.iterdir())


def saved(file: Path, rows: np.ndarray) -> DataConfig:
    np.save(file, rows)
    return DataConfig(str(file))


@pytest.mark.parametrize(
    ("zero", "kind"), [(0, np.int8), (0, np.float64), (0, bool), (0, np.uint8), (-1, np.int8), (-1, np.float64)]
)
def test_an_array_of_zeros_and_ones_or_of_signs_is_bits(tmp_path: Path, zero: int, kind: type) -> None:
    """A model sees -1 and 1, and its samples are written in the numbers of the file."""
    rows = np.where(np.random.default_rng(0).random((50, 6)) > 0.5, 1, zero).astype(kind)
    config = saved(tmp_path / "bits.npy", rows)
    found = load(config)
    assert (found.spec.levels, peek(config).levels, peek(config).shape) == (2, 2, (6,))
    x = everything(found)
    assert torch.equal(x, torch.from_numpy(np.where(rows == 1, 1.0, -1.0)).float())
    assert isinstance(found.spec, VectorSpec)
    assert (found.spec.to_units(x) == rows).all()
    nonequilibrium = recipes.build("nonequilibrium", config)
    assert (nonequilibrium.process.name, nonequilibrium.network.name) == ("binomial", "mlp")


def test_one_other_number_makes_points_of_bits(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 2, (200_000, 2))
    rows[-1, 0] = 2
    config = saved(tmp_path / "points.npy", rows)
    assert load(config).spec.levels is peek(config).levels is None
    assert recipes.build("nonequilibrium", config).process.name == "gaussian"


def test_bits_are_still_points_to_a_run_that_was_begun_with_points(tmp_path: Path) -> None:
    """Runs were trained on such files before they were taken for bits; their fingerprint is that of points."""
    rows = np.random.default_rng(0).integers(0, 2, (50, 3)).astype(np.float64)
    centre, scale = rows.mean(0), 2 * float(np.sqrt(rows.var(0).mean()))
    points = ((rows - centre) / scale).astype(np.float32)
    before = VectorDataset(points, tuple(f"row/{i:07d}" for i in range(50)), None, tuple(centre.tolist()), scale)
    now = load(saved(tmp_path / "bits.npy", rows)).fitted_to(before.spec, "")
    assert now.spec == before.spec
    assert now.fingerprint() == before.fingerprint()
    with pytest.raises(InputError, match=r"x has vectors \(3,\), the model makes vectors \(3,\) of 2 levels; give"):
        before.fitted_to(VectorSpec(3, 2), "x")


def test_bits_of_one_file_are_those_of_another_whatever_stands_for_a_zero(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 2, (50, 3))
    one, other = load(saved(tmp_path / "a.npy", rows)), load(saved(tmp_path / "b.npy", 2 * rows - 1))
    assert one.fitted_to(other.spec, "").fingerprint() == other.fingerprint()


def test_what_suits_vectors_replaces_a_recipes_network_and_no_choice_of_its_own() -> None:
    config = recipes.build("edm", DataConfig("swiss-roll"))
    assert (config.network.name, config.training.batch_size, config.training.decay) == ("mlp", 256, "cosine")
    assert config.sampling.threshold == "none"
    chosen = override(recipes.RECIPES["edm"](DataConfig("swiss-roll"), POINTS), ["training.batch_size=32"])
    own = chosen.suited(POINTS)
    assert (own.training.batch_size, own.training.learning_rate) == (32, 3e-3)


def test_fourier_features_go_by_the_levels_of_the_data_as_they_are_read() -> None:
    fourier = {
        size: configure("vdm", data="digits", settings=settings).network.fourier
        for size, settings in ((8, ()), (16, ("data.size=16",)))
    }
    assert fourier == {8: (3, 4), 16: (7, 8)}
