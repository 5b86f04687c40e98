"""config.json is read as it was saved or not at all, and what is no JSON is answered in one line."""

import json
from pathlib import Path

import pytest

from sumi.errors import InputError
from sumi.models.run import read_run
from sumi.training.run_folder import RunFolder
from tests.tiny_models import edited, random_model


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    random_model(tmp_path).save(tmp_path / "run")
    return RunFolder(tmp_path / "run")


def unnoticed_flips(run: RunFolder, every: int = 1) -> tuple[int, int]:
    """How many of ``every``-th single flipped bits of config.json are read as another configuration, and of how many.

    Raises AssertionError for a refusal that is not one line with the file's name.
    """
    before, text = read_run(run), run.config_file.read_bytes()
    unnoticed, bits = 0, range(0, 8 * len(text), every)
    for bit in bits:
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        run.config_file.write_bytes(flipped)
        try:
            unnoticed += read_run(run) != before
        except InputError as error:
            message = str(error)
            assert message.startswith(f"{run.config_file}: "), message
            assert message.isprintable(), message
    run.config_file.write_bytes(text)
    return unnoticed, len(bits)


def test_every_flipped_bit_of_config_json_is_found_and_the_file_named(run: RunFolder) -> None:
    unnoticed, bits = unnoticed_flips(run, every=61)
    assert unnoticed == 0
    assert bits > 200


def test_what_is_changed_by_hand_is_refused_with_what_to_do_and_then_read(run: RunFolder) -> None:
    saved = read_run(run)
    text = run.config_file.read_text()
    run.config_file.write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match=r"config\.json: is not what was saved .* remove its line \"sha256\""):
        read_run(run)
    run.config_file.write_text(edited(run.config_file))
    assert read_run(run).config.seed == 1
    data = json.loads(text)
    run.config_file.write_text("\ufeff" + json.dumps(dict(reversed(data.items()))))  # neither order nor space counts
    assert read_run(run) == saved


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe\xff", "is not valid JSON"),
        (b"[1]", "is not a JSON object"),
    ],
)
def test_what_is_no_json_is_one_line_that_names_the_file(run: RunFolder, text: bytes, answer: str) -> None:
    run.config_file.write_bytes(text)
    with pytest.raises(InputError) as error:
        read_run(run)
    assert str(error.value).startswith(f"{run.config_file}: ")
    assert answer in str(error.value)
    assert str(error.value).isprintable()
