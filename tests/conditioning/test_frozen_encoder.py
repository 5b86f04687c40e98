"""Encoders in Hugging Face's format: transformers' own states, kept on disk, and refused where the files differ."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.conditioning.encoder_files import cache_of
from sumi.conditioning.frozen_encoder import FrozenEncoder, FrozenEncoderConfig
from sumi.conditioning.text import TextConditioner
from sumi.errors import InputError
from sumi.models.run import load
from sumi.training_run import train
from tests.coloured import coloured
from tests.text_encoders import ENCODERS, WORDS, folder_with

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ENCODERS)
def test_states_are_those_of_transformers_whatever_the_padding(kind: str, tmp_path: Path) -> None:
    place = folder_with(kind, tmp_path / kind)
    encoder = FrozenEncoderConfig(str(place), length=12).build()
    texts = ["a red square", "a blue disc, a grey square", ""]
    ids = encoder.tokens(texts)
    assert ids.shape == (3, 12)
    batch = transformers.AutoTokenizer.from_pretrained(place)(texts, padding=True, return_tensors="pt")
    model = type(ENCODERS[kind]()).from_pretrained(place).eval()
    with torch.no_grad():
        expected = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    there = batch["attention_mask"].bool()
    states, _ = encoder.states(ids)
    torch.testing.assert_close(states[:, : there.shape[1]][there], expected[there], rtol=0, atol=1e-5)
    assert torch.equal(ids != 0, torch.nn.functional.pad(there, (0, 12 - there.shape[1])))
    assert torch.equal(encoder.states(ids[:1, :5])[0], states[:1, :5])
    assert not any(parameter.shape[0] == len(WORDS) for parameter in encoder.parameters())

    before, after = (0, 1) if kind == "t5" else (1, 1)
    conditioner = TextConditioner(encoder, 24)
    condition = conditioner.parse("a (red:3) square", range(1))
    weights = condition["text_weights"][0, 0]
    assert weights.tolist() == [1.0] * before + [1.0, 3.0, 1.0] + [1.0] * after + [0.0] * (12 - before - after - 3)
    assert torch.equal(condition["text"][0, 0], ids[0])
    with pytest.raises(InputError, match=f"has 12 tokens; this model takes {12 - before - after}"):
        conditioner.parse("a " * 12, range(1))


def test_a_model_that_is_more_than_an_encoder_is_refused(tmp_path: Path) -> None:
    place = folder_with("bart", tmp_path / "bart")
    with pytest.raises(InputError, match=r"^encoder.source: .* cannot be read \(bart is more than an encoder of text"):
        FrozenEncoderConfig(str(place)).build()


def test_a_cache_that_is_damaged_or_locked_is_named(tmp_path: Path, monkeypatch) -> None:
    encoder = FrozenEncoderConfig(str(folder_with("bert", tmp_path / "bert")), length=9).build()
    file = cache_of(encoder.config.weights)
    file.write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"sqlite: cannot be used \(file is not a database\); delete it"):
        encoder(encoder.tokens(["a red square"]))
    file.unlink()
    computed = encoder._computed

    def while_another_writes(row: np.ndarray) -> torch.Tensor:
        with closing(sqlite3.connect(file, timeout=0)) as other, other:
            other.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (row.tobytes() + b"other", b""))
        return computed(row)

    monkeypatch.setattr(encoder, "_computed", while_another_writes)
    assert encoder(encoder.tokens(["a red square", "a blue disc"])).states.shape[0] == 2


def test_a_run_keeps_states_on_disk_and_refuses_an_encoder_that_is_gone_or_another(tmp_path: Path, monkeypatch) -> None:
    place, data, out = folder_with("bert", tmp_path / "bert"), tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for i in range(6):
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(data / f"{i}.png")
    rows = [{"file_name": f"{i}.png", "text": f"grey number {i}"} for i in range(6)]
    (data / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = ["network.width=32", "network.blocks=1", "network.patch=4", "network.embedding=32", "data.size=8"]
    settings += ["conditioning.encoder=frozen", f"conditioning.encoder.source={place}", "conditioning.encoder.length=9"]
    settings += ["training.batch_size=4", "training.sample_every=0", "sampling.steps=2", "training.checkpoint_every=2"]
    train("text-to-image", data=data, out=out, steps=2, settings=settings)
    model = train("text-to-image", data=data, out=out, steps=4, settings=settings, resume=True)
    sample = model.sample(2, prompt="grey number 4")
    assert not any("layer" in name for name in model.module.conditioner.state_dict())

    def never(self: FrozenEncoder, row: np.ndarray) -> torch.Tensor:
        raise AssertionError("computed again")

    monkeypatch.setattr(FrozenEncoder, "_computed", never)
    assert torch.equal(load(out).sample(2, prompt="grey number 4"), sample)
    assert model.text is not None
    assert cache_of(model.config.conditioning[0].encoder.weights).is_file()

    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.5}))
    with pytest.raises(InputError, match="has other files than the run was trained with"):
        load(out)
    (place / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config.json; give a folder in Hugging Face's format"):
        load(out)
    shutil.rmtree(place)
    with pytest.raises(InputError, match=r"^encoder.source: .*/bert is gone, .*put them back"):
        load(out)


def test_a_cascade_reads_words_by_a_frozen_encoder(tmp_path: Path, monkeypatch) -> None:
    """As Imagen does, and no other than it was trained with."""
    place, out = folder_with("t5", tmp_path / "t5"), tmp_path / "run"
    monkeypatch.chdir(tmp_path)  # given by a relative path, it is kept by an absolute one
    settings = ["network.width=32", "network.blocks=1", "network.embedding=32", "sizes=8,16", "encoder=frozen"]
    settings += ["encoder.source=t5", "encoder.length=9", "upper.widths=16", "upper.blocks=1"]
    settings += ["upper.embedding=16", "training.batch_size=4", "training.sample_every=0", "sampling.steps=2"]
    train("imagen", data=coloured(2), out=out, steps=1, settings=settings)
    model = train("imagen", data=coloured(2), out=out, steps=2, settings=settings, resume=True)
    assert model.config.encoder.weights
    assert model.config.encoder.source == str(place)
    one, other = (model.sample(1, prompt=text, seed=1) for text in ("a red square", "a blue disc"))
    assert not torch.equal(one, other)
    assert torch.equal(load(out).sample(1, prompt="a red square", seed=1), one)
    folder_with("bert", place)
    with pytest.raises(InputError, match=r"has other files than the run was trained with"):
        load(out).sample(1, prompt="a red square")
