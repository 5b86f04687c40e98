"""Sound: files of any kind read exactly, other rates, folders, what is written, and the digits that come with it."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from sumi.data.audio import LEVELS, AudioDataset, AudioSpec, fitted, length_of
from sumi.data.builtin.spoken_digits import companded, expanded
from sumi.data.config import DataConfig
from sumi.data.files import Writing
from sumi.data.load import load, peek
from sumi.data.open import open_data
from sumi.data.resample import resampled
from sumi.data.sound_files import UnreadableSound, clipped, comment_of, of_flac, of_wav, to_levels, wav
from sumi.errors import InputError

X = np.random.default_rng(0).uniform(-1, 1, (2, 300))


def riff(coding: int, bits: int, data: bytes, *, channels: int = 2, extensible: bool = False) -> bytes:
    size = -(-bits // 8)
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else coding, channels, 8000, 0, channels * size, bits)
    form += struct.pack("<HHIH", 22, bits, 3, coding) + b"\0" * 14 if extensible else b""
    chunks = b"junk" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def whole_numbers(bits: int) -> tuple[np.ndarray, bytes]:
    k = np.clip(np.round(X.T * 2.0 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int64)
    if bits == 8:
        return k / 128, (k + 128).astype(np.uint8).tobytes()
    return k / 2.0 ** (bits - 1), b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in k.flatten())


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_whole_numbers_of_every_depth_are_read_exactly(bits: int, extensible: bool) -> None:
    values, data = whole_numbers(bits)
    found, rate = of_wav(riff(1, bits, data, extensible=extensible))
    assert rate == 8000
    assert np.array_equal(found, values.T)


@pytest.mark.parametrize("bits", [12, 20])
def test_depths_of_no_whole_byte_fill_its_upper_bits(bits: int) -> None:
    size, values = -(-bits // 8), np.floor(X.T * 2 ** (bits - 1)) / 2 ** (bits - 1)
    data = b"".join(int(v * 2 ** (8 * size - 1)).to_bytes(size, "little", signed=True) for v in values.flatten())
    found, _ = of_wav(riff(1, bits, data))
    assert np.array_equal(found, values.T)


def test_other_codings_are_read_by_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    for subtype, apart in (("ULAW", 0.02), ("ALAW", 0.02), ("MS_ADPCM", 0.2)):
        file, tone = io.BytesIO(), np.sin(np.arange(600) / 9)
        soundfile.write(file, tone, 8000, format="WAV", subtype=subtype)
        values, rate = of_wav(file.getvalue())
        assert (rate, values.shape[0]) == (8000, 1)
        assert np.abs(values[0, :600] - tone).max() < apart
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(UnreadableSound, match=r"is a WAV file of another coding, which needs soundfile; install"):
        of_wav(file.getvalue())


def test_a_file_of_unknown_length_is_read_to_its_end_and_an_empty_one_is_empty() -> None:
    values, data = whole_numbers(16)
    content = riff(1, 16, data)
    place = content.index(b"data") + 4
    for whole, own in ((b"\xff" * 4, b"\xff" * 4), (b"\0" * 4, b"\0" * 4)):
        stream = content[:4] + whole + content[8:place] + own + content[place + 4 :]
        assert np.array_equal(of_wav(stream)[0], values.T)
    assert np.array_equal(
        of_wav(b"RF64" + b"\xff" * 4 + content[8:place] + b"\xff" * 4 + content[place + 4 :])[0], values.T
    )
    empty = riff(1, 16, b"") + b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
    assert of_wav(empty)[0].shape == (2, 0)


def test_the_beginning_of_a_long_recording_is_as_of_the_whole(tmp_path: Path) -> None:
    """Though no more of it than that is kept while others are read."""
    long = np.random.default_rng(1).uniform(-0.5, 0.5, 8 * 11_025)
    (tmp_path / "a.wav").write_bytes(wav(to_levels(long), 11_025))
    (tmp_path / "b.wav").write_bytes(wav(to_levels(long[:4000]), 8000))
    found = load(DataConfig(str(tmp_path), seconds=0.5))
    values, rate = of_wav((tmp_path / "a.wav").read_bytes())
    clip, cut = fitted(values, rate, 8000, found.shape[1])
    assert cut
    assert np.abs(found.clips[0].astype(int) - clip).max() <= 1  # float32 on the way
    assert "1 of 2 were longer and are cut" in found.notes
    assert found.values["seconds"].tolist() == [found.shape[1] / 8000, 0.5]


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_floats_are_read_exactly(kind: str) -> None:
    found, _ = of_wav(riff(3, 8 * np.dtype(kind).itemsize, X.T.astype(kind).tobytes()))
    assert np.array_equal(found, X.astype(kind).astype(np.float64))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ID3 something", "is no WAV file"),
        (riff(1, 16, b"\0" * 80)[:-8], "ends early: 72 of 80 bytes are there"),
        (riff(0x1234, 8, b"\0" * 8), "is no WAV file of another coding that can be read|needs soundfile"),
        (riff(1, 16, b"", channels=0), "states 0 channels"),
        (b"RIFF\x04\0\0\0WAVE", "has no data chunk"),
    ],
)
def test_what_is_no_sound_says_why(content: bytes, why: str) -> None:
    with pytest.raises(UnreadableSound, match=why):
        of_wav(content)


def test_flac_is_read_where_soundfile_is_and_named_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "soundfile", None)
        with pytest.raises(UnreadableSound, match=r"needs soundfile; install sumi\[audio\]"):
            of_flac(b"fLaC")
    soundfile = pytest.importorskip("soundfile")
    file, k = io.BytesIO(), to_levels(X.T)
    soundfile.write(file, k, 8000, format="FLAC")
    values, rate = of_flac(file.getvalue())
    assert (rate, values.shape) == (8000, (2, 300))
    assert np.array_equal(values, k.T / LEVELS)
    with pytest.raises(UnreadableSound, match="is no FLAC file"):
        of_flac(b"fLaC" + b"\0" * 50)


@pytest.mark.parametrize(("own", "wanted"), [(44_100, 8000), (8000, 44_100), (48_000, 16_000), (8000, 11_025)])
def test_a_tone_below_both_ends_stays_and_one_above_goes(own: int, wanted: int) -> None:
    lower, t = min(own, wanted), np.arange(own // 4) / own
    inside = slice(wanted // 40, -wanted // 40)
    y = resampled(np.sin(2 * np.pi * 0.4 * lower * t)[None], own, wanted)[0]
    assert len(y) == -(-len(t) * wanted // own)
    assert np.abs(y - np.sin(2 * np.pi * 0.4 * lower * np.arange(len(y)) / wanted))[inside].max() < 1e-5
    assert np.abs(resampled(np.ones((1, len(t))), own, wanted)[0] - 1)[inside].max() < 1e-12
    if own > wanted:
        assert np.abs(resampled(np.sin(2 * np.pi * 0.52 * wanted * t)[None], own, wanted)[0])[inside].max() < 1e-5


def test_a_clip_is_the_mean_of_its_channels_padded_with_silence_or_cut_with_a_fade() -> None:
    short, cut = fitted(X, 8000, 8000, 512)
    assert not cut
    assert np.array_equal(short[:300], to_levels(X.mean(0)))
    assert not short[300:].any()
    long, cut = fitted(np.full((1, 1000), 0.5), 8000, 8000, 512)
    assert cut
    assert (long[:432] == 16_384).all()
    assert (np.diff(long[432:].astype(int)) < 0).all()
    assert 0 < long[-1] < 100


def test_lengths_are_whole_multiples() -> None:
    assert (length_of(8000, 0.64), length_of(8000, 0.65), length_of(44_100, 1)) == (5120, 5376, 44_288)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, (name, rate) in enumerate([("cat/a", 8000), ("cat/b", 16_000), ("dog/c", 8000), ("dog/d", 8000)]):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav(to_levels(0.5 * np.sin(np.arange(rate // (1 + i)) / 5)), rate))
    return tmp_path


def test_a_folder_of_sound_is_a_data_set_with_classes_lengths_and_a_line_for_each_bad_file(folder: Path) -> None:
    (folder / "cat" / "bad.wav").write_bytes(b"RIFF")
    (folder / "dog" / "notes.txt").write_text("x")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "cat/a.wav", "text": "a cat", "age": 3}))
    data = load(DataConfig(str(folder), seconds=0.5))
    assert isinstance(data, AudioDataset)
    assert data.spec == AudioSpec(8000, 4096, ("cat", "dog")) == peek(DataConfig(str(folder), seconds=0.5))
    assert data.keys == ("cat/a.wav", "cat/b.wav", "dog/c.wav", "dog/d.wav")
    assert data.column("seconds") == pytest.approx([0.512, 0.5, 1 / 3, 0.25], abs=1e-3)
    assert np.isnan(data.column("age")).tolist() == [False, True, True, True]
    assert data.captions == ("a cat", "", "", "")
    assert [line.strip() for line in data.skipped_report()] == [
        "used 4 of 6 files; skipped 2:",
        "cat/bad.wav: is no WAV file (it does not begin with RIFF … WAVE)",
        "dog/notes.txt: .txt is no sound format read here",
    ]
    assert "1 of 4 were resampled" in data.notes
    assert "1 of 4 were longer and are cut" in data.notes
    assert data.labels_of(np.arange(4)).tolist() == [0, 0, 1, 1]
    assert data.subset([3, 0]).keys == ("dog/d.wav", "cat/a.wav")
    assert data.std() == pytest.approx(
        float(data.batch(np.arange(4)).double().var(0, correction=0).mean().sqrt()), 1e-6
    )


def test_their_fingerprint_is_of_all_that_is_trained_on(folder: Path) -> None:
    data = load(DataConfig(str(folder), seconds=0.5))
    assert isinstance(data, AudioDataset)
    again = load(DataConfig(str(folder), seconds=0.5))
    assert data.fingerprint() == again.fingerprint()
    changed = data.clips.copy()
    changed[3, 7] += 1
    others = [
        AudioDataset(changed, 8000, data.keys),
        AudioDataset(data.clips, 8000, data.keys),
        AudioDataset(data.clips, 8001, data.keys),
        AudioDataset(data.clips, 8000, data.keys, splits=("train",) * 4),
        AudioDataset(data.clips, 8000, data.keys, values={"seconds": np.ones(4)}),
    ]
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 6


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"size": 32}, "data.size: .* holds clips of sound, which have none"),
        ({"flip": True}, "data.flip: .* holds clips of sound"),
    ],
)
def test_fields_of_pictures_are_refused_for_sound(folder: Path, config: dict, why: str) -> None:
    with pytest.raises(InputError, match=why):
        load(DataConfig(str(folder), **config))


def test_fields_of_sound_are_refused_for_pictures() -> None:
    with pytest.raises(InputError, match=r"data.seconds: is of sound, and digits holds none; leave it out"):
        load(DataConfig("digits", seconds=1))
    with pytest.raises(InputError, match=r"data.rate: 0 is out of range"):
        DataConfig("digits", rate=0)


def test_spoken_digits_come_with_it() -> None:
    """Digits or speakers are the classes, captions hold both, and takes below 5 are held out."""
    data = open_data("spoken-digits", DataConfig("spoken-digits"))
    assert isinstance(data, AudioDataset)
    assert data.spec == peek(DataConfig("spoken-digits")) == AudioSpec(8000, 5120, tuple("0123456789"))
    train, held_out = data.split(0.1)
    assert (len(train), len(held_out)) == (720, 120)
    assert (data.keys[0], data.captions and data.captions[0]) == ("0_george_0", "zero by george")
    assert np.bincount(data.labels_of(np.arange(840))).tolist() == [84] * 10
    by = load(DataConfig("spoken-digits", labels="speaker"))
    assert by.spec == peek(DataConfig("spoken-digits", labels="speaker"))
    assert by.label_names[1] == "jackson"
    with pytest.raises(InputError, match=r"data.labels: spoken-digits has no classes 'speakers'; did you mean speaker"):
        load(DataConfig("spoken-digits", labels="speakers"))
    one = open_data("spoken-digits", DataConfig("spoken-digits", own_splits=False))
    assert getattr(one, "splits", "") is None


def test_eight_bits_by_the_mu_law_are_38_decibels_above_their_rounding() -> None:
    k = (3000 * np.random.default_rng(0).standard_normal(10_000)).astype(np.int16)
    error = (expanded(companded(k)) - k.astype(float)).var()
    assert 10 * np.log10(k.astype(float).var() / error) > 36
    assert np.array_equal(companded(expanded(np.arange(-127, 128, dtype=np.int8))), np.arange(-127, 128))


SPEC = AudioSpec(8000, 512, ("a", "b"))


def writing(**about: object) -> Writing:
    return Writing(batch_size=2, title="t", about={"digest": "x", **about})


def test_samples_are_files_that_say_how_they_were_made_and_are_not_made_twice(tmp_path: Path) -> None:
    x = torch.linspace(-1.5, 1.5, 512).repeat(3, 1, 1) * torch.tensor([0.1, 0.5, 1.0]).view(3, 1, 1)
    made: list[range] = []

    def make(batch: range) -> torch.Tensor:
        made.append(batch)
        return x[batch.start : batch.stop]

    message = SPEC.write(tmp_path, make, range(3), writing())
    assert message.startswith(f"3 clips of 0.064 s, {clipped(x.numpy())} values in 1 of them clipped, and ")
    assert clipped(x.numpy()) == 172
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000.wav", "00001.wav", "00002.wav", "grid.png"]
    for i in range(3):
        values, rate = of_wav((tmp_path / f"0000{i}.wav").read_bytes())
        assert rate == 8000
        assert np.array_equal(values[0] * LEVELS, to_levels(x[i, 0].numpy()))
        assert comment_of(tmp_path / f"0000{i}.wav") == {"digest": "x", "index": i}
    (tmp_path / "00002.wav").unlink()
    SPEC.write(tmp_path, make, range(3), writing())
    assert made == [range(2), range(2, 3), range(2, 3)]
    (tmp_path / "00001.wav").unlink()  # of a batch whose other clip is there
    SPEC.write(tmp_path, make, range(3), writing())
    assert made[3:] == [range(2)]
    assert (tmp_path / "00001.wav").exists()
    with pytest.raises(InputError, match=r"holds 00000.wav, which was made with other settings"):
        SPEC.write(tmp_path, make, range(3), writing(seed=3))
    with pytest.raises(InputError, match="format: sound is written as wav"):
        SPEC.write(tmp_path, make, range(3), Writing(batch_size=2, title="", about={}, format="npz"))


def test_clips_that_are_given_are_fitted_as_in_training(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(to_levels(0.3 * np.ones(300)), 8000))
    x = SPEC.read("clip", str(path))
    assert x.shape == (1, 512)
    assert (x[0, 299], x[0, 300]) == (pytest.approx(0.3, abs=1e-4), 0)
    assert SPEC.read("clip", [str(path), x]).shape == (2, 1, 512)
    assert torch.equal(SPEC.read("clip", x[0]), x)
    with pytest.raises(InputError, match=r"clip: is of shape \(1, 7\); give \(1, 512\) at 8000 Hz"):
        SPEC.read("clip", torch.zeros(7))
    with pytest.raises(InputError, match=r"clip: nowhere.wav: .*; give a WAV or FLAC file"):
        SPEC.read("clip", "nowhere.wav")
    assert torch.equal(SPEC.finish(torch.full((1, 1, 2), 3.0)), torch.full((1, 1, 2), 32_767 / 32_768))
