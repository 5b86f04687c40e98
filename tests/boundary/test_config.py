"""Configuration: JSON both ways, strict types, and answers with the nearest right name."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sumi import recipes
from sumi.boundary.config import describe, differences, from_json, to_json
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.errors import InputError
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import RunDescription
from sumi.models.run import read_run
from sumi.recipes.configure import configure
from sumi.training.run_folder import RunFolder


@pytest.fixture
def config() -> DiffusionConfig:
    return recipes.build("ddpm", DataConfig(source="digits"))


def test_json_both_ways(config: DiffusionConfig) -> None:
    changed = override(config, ["schedule=cosine", "network.attention=[2]", "weighting=min_snr", "data.size=16"])
    assert from_json(DiffusionConfig, json.loads(json.dumps(to_json(changed)))) == changed


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.learning_rate=1e-3", lambda c: c.training.learning_rate == 1e-3),
        ("training.learning_rate=1", lambda c: c.training.learning_rate == 1.0),
        ("network.widths=32,64,96", lambda c: c.network.widths == (32, 64, 96)),
        ("network.widths=[32, 64, 96]", lambda c: c.network.widths == (32, 64, 96)),
        ("training.learning_rate=.001", lambda c: c.training.learning_rate == 1e-3),
        ("training.steps=1_000", lambda c: c.training.steps == 1000),
        ("sampling.guidance.interval=.3,+5", lambda c: c.sampling.guidance.interval == (0.3, 5.0)),
        ("network.attention=", lambda c: c.network.attention == ()),
        ("data.flip=true", lambda c: c.data.flip is True),
        ("data.flip=yes", lambda c: c.data.flip is True),
        ("data.size=none", lambda c: c.data.size is None),
        ("data.source=123", lambda c: c.data.source == "123"),
        ("training.decay=cosine", lambda c: c.training.decay == "cosine"),
        ("parameterization=velocity", lambda c: c.parameterization.name == "velocity"),
        ("sampling.threshold=none", lambda c: c.sampling.threshold == "none"),
        ("sampling.guidance.interval=0.3,5", lambda c: c.sampling.guidance.interval == (0.3, 5.0)),
        ("sampling.guidance.interval=none", lambda c: c.sampling.guidance.interval is None),
        ("schedule.beta_end=0.03", lambda c: c.schedule.beta_end == 0.03),
    ],
)
def test_values_are_read_as_their_fields_type(config: DiffusionConfig, setting: str, expected) -> None:
    assert expected(override(config, [setting]))


def test_one_setting_needs_no_list(config: DiffusionConfig) -> None:
    """A string is one setting, not as many as it has letters."""
    assert override(config, "data.size=8") == override(config, ["data.size=8"])
    assert configure("ddpm", data="digits", settings="data.size=8").data.size == 8


def test_a_table_changes_only_the_fields_that_it_names(config: DiffusionConfig) -> None:
    assert override(config, 'sampling.guidance={"scale": 2}') == override(config, "sampling.guidance=2")
    for nothing in ("training={}", "schedule={}", {"training": {}}, {"sampling": {"guidance": {}}}):
        assert override(config, nothing) == config
    assert override(config, 'training={"steps": 9}') == override(config, {"training": {"steps": 9}})
    assert override(config, 'sampling={"guidance": {"rescale": 0.5}}').sampling.steps == config.sampling.steps
    lines = ["schedule.beta_end=0.03", 'schedule={"type": "linear", "steps": 500}', "times.steps=500"]
    assert override(config, lines) == override(config, ["schedule.steps=500", "times.steps=500"])
    with pytest.raises(InputError, match=r"^schedule.s: there is no such field"):
        override(config, 'schedule={"s": 0.01}')


def test_settings_that_need_each_other_are_checked_together(config: DiffusionConfig) -> None:
    changed = override(config, ["schedule.steps=500", "times.steps=500", "network.widths=32,64", "network.blocks=1,2"])
    assert (changed.schedule.steps, changed.times.grid, changed.network.blocks) == (500, 500, (1, 2))
    changed = override(config, ["schedule=cosine", "schedule.s=0.01"])
    assert changed.schedule.s == 0.01


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        ("trainign.steps=5", "did you mean training?"),
        ("training.step=5", "did you mean steps?"),
        ("training.learning_rat=5", "did you mean learning_rate?"),
        ("schedule=cosin", "did you mean cosine?"),
        ("schedule.s=0.1", "there is no field 's'"),
        ("training.steps=many", 'training.steps: "many" is not a whole number'),
        ("training.steps=1.5", "training.steps: 1.5 is not a whole number"),
        ("training.steps=true", "training.steps: true is not a whole number"),
        ("training.learning_rate=fast", 'training.learning_rate: "fast" is not a number'),
        ("data.flip=1", "data.flip: 1 is not true or false"),
        ("network.widths=32,x", "network.widths"),
        ("training.precision=fp8", "training.precision: there is no 'fp8'; did you mean fp32?"),
        ("sampling.threshold=dynamc", "sampling.threshold: there is no 'dynamc'; did you mean dynamic?"),
        ("sampling.threshold=true", "sampling.threshold: there is no 'true'; choose from none, static, dynamic"),
        ("sampling.guidance.intervall=0,1", "did you mean interval?"),
        ("sampling.guidance.interval=3", "sampling.guidance.interval: 3 is not LOW,HIGH"),
        ("sampling.guidance.interval=3,2", "sampling.guidance.interval: 3,2 is not LOW,HIGH"),
        ("sampling.guidance.interval=-1,2", "sampling.guidance.interval: -1,2 is not LOW,HIGH"),
        ("sampling.guidance.interval=a,b", "sampling.guidance.interval"),
        ("sampling.guidance.rescale=1.1", "sampling.guidance.rescale: 1.1 is not between 0 and 1"),
        ("training.steps.x=1", "'steps' has no fields of its own"),
        ("training.steps", "has no '='"),
        ("training.steps=0", "training.steps: 0"),
        ("training.accumulation=3", "training.accumulation: 3"),
        ("training.learning_rate=1" + "0" * 400, "training.learning_rate: 1000"),
        ("training.learning_rate=nan", "training.learning_rate: nan is not a finite number"),
        (
            "schedule.steps=" + "9" * 5000,
            "schedule.steps: is nested too deeply, or has a number of thousands of digits",
        ),
        ("network.widths=" + "[" * 3000, "network.widths: is nested too deeply"),
        ("network.widths=" + "[" * 3000 + "]" * 3000, "network.widths: is nested too deeply"),
        ("network.widths=" + "[" * 500 + "]" * 500, "network.widths[0]: [[["),
        ("seed=-1" + "0" * 30, "seed: -1000000000000000000000000000000 is out of range"),
        ("seed=-1", "seed: -1"),
        (f"seed={2**64}", "seed: 18446744073709551616 is out of range"),
        ("schedule.steps=500", "times.steps"),
        ("sampling.solver=ddmi", "did you mean dd"),
        ("data.size=-4", "data.size"),
        ("data.source=\ud800", "data.source: '\\ud800' is no text (half of a surrogate pair)"),
        ('schedule={"type": "cosine", "s": 1e300}', "schedule.s: 1e+300 is out of range; give 0 to 10"),
    ],
)
def test_mistakes_are_answered_in_one_line_with_the_field(config: DiffusionConfig, setting: str, answer: str) -> None:
    with pytest.raises(InputError) as error:
        override(config, [setting])
    assert answer in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda d: d.pop("recipe"), "recipe: is missing"),
        (lambda d: d["training"].update(stps=3), "training.stps: there is no such field; did you mean steps?"),
        (lambda d: d["schedule"].pop("type"), "schedule: 'type' is missing"),
        (lambda d: d.update(network=[]), "network: [] is not a table of fields"),
        (lambda d: d["network"].update(widths=[32, "64", 128]), 'network.widths[1]: "64" is not a whole number'),
    ],
)
def test_a_damaged_file_is_refused_by_field(config: DiffusionConfig, change, answer: str) -> None:
    data = to_json(config)
    change(data)
    with pytest.raises(InputError) as error:
        from_json(DiffusionConfig, data)
    assert answer in str(error.value)


HOSTILE = (
    *("-1", "0", "0.5", "true", "null", '""', "[]", "{}", "NaN", "1e309", "1e300", "-1e-320", "1000000000000"),
    *(
        "1" + "0" * 400,
        "1" + "0" * 5000,
        "[" * 3000 + "]" * 3000,
        '{"a":' * 2000 + "1" + "}" * 2000,
        '"' + 5000 * "x" + '"',
    ),
    *("[[[1]]]", "[null]", "[1000000]", '["a"]', '{"type": "x"}', '{"type": 3}', r'"a\n\u001b[31mb"', r'"\ud800"'),
    *('"' + "x" * 5000 + '"', '"' + "(" * 3000 + '"', '"((((a{1,99999999999999999999}))))"'),
)


def places_of(data: object, *place: str | int) -> Iterator[tuple[str | int, ...]]:
    """Where the values of a JSON object stand, tables included."""
    items: Iterable[tuple[str | int, object]] = ()
    match data:
        case dict():
            items = data.items()
        case list() if all(type(item) is dict for item in data):
            items = enumerate(data)
    for key, value in items:
        yield (*place, key)
        yield from places_of(value, *place, key)


def changed(data: object, place: tuple[str | int, ...], text: str) -> str:
    """``data`` as JSON, with ``text`` at ``place``."""
    copy: Any = json.loads(json.dumps(data))
    table = copy
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = "HERE"
    return json.dumps(copy).replace('"HERE"', text)


def answer(ask: Callable[[], object], place: tuple[str | int, ...]) -> None:
    """Asks, and is answered or refused in one line that names one of ``place``, or the kind of what it is."""
    try:
        ask()
    except InputError as error:
        line = str(error)
        assert line.isprintable()
        assert len(line) < 1000
        assert any(str(name) in line for name in (*place, "there is no", "is not valid JSON")), (place, line)


# Every field that these have is one of another recipe, too
COVERED = {
    "ddpm",
    "improved-ddpm",
    "classifier-free",
    "inpaint",
    "colourise",
    "nonequilibrium",
    "ncsn",
    "energy",
    "edm",
}
COVERED |= {"flow", "jit", "latent", "dit", "text-to-image", "vae"}


@pytest.mark.parametrize(
    "recipe", [pytest.param(r, marks=[pytest.mark.slow] * (r in COVERED)) for r in recipes.RECIPES]
)
def test_any_value_of_any_field_is_taken_or_refused_in_one_line_that_names_it(recipe: str, tmp_path: Path) -> None:
    """By a setting, in a recipe's file and in a run's config.json; every field gets every 13th value."""
    plain = recipes.build(recipe, DataConfig(source="digits"))
    spec = ImageSpec(1, 8, 8, 17, ("0", "1"))
    run, file = RunFolder(tmp_path / "run"), tmp_path / "recipe.json"
    described = to_json(RunDescription(plain, spec, "", 1.0))
    turn = [*recipes.RECIPES].index(recipe)
    for place in places_of(to_json(plain)):
        name = ".".join(map(str, place))
        for text in HOSTILE[turn % 13 :: 13]:
            value = json.loads(text) if text.startswith('"') else text
            answer(partial(override, plain, f"{name}={value}"), place)
            file.write_text(changed(to_json(plain), place, text))
            answer(partial(configure, file), place)
        turn += 1
    run.path.mkdir()
    for place in places_of(described):
        for text in HOSTILE[turn % 13 :: 13]:
            run.config_file.write_text(changed(described, place, text))
            answer(partial(read_run, run), place)
        turn += 1


@pytest.mark.parametrize("std", [-1.0, 1e300])
def test_a_deviation_that_no_data_have_is_refused(config: DiffusionConfig, std: float, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    described = to_json(RunDescription(config, ImageSpec(1, 8, 8, 17, ()), "", 1.0))
    run.config_file.write_text(json.dumps(described | {"data_std": std}))
    with pytest.raises(InputError, match=rf"data_std: {std:g} is out of range".replace("+", "[+]")):
        read_run(run)


def test_differences_name_the_fields(config: DiffusionConfig) -> None:
    assert differences(config, config) == []
    changed = override(config, ["training.learning_rate=0.1", "schedule=constant"])
    lines = differences(config, changed)
    assert 'schedule.type: "linear" → "constant"' in lines
    assert "training.learning_rate: 0.001 → 0.1" in lines


def test_every_field_has_a_meaning(config: DiffusionConfig) -> None:
    for name, value, meaning in describe(config):
        assert meaning, name
        assert value, name


def test_a_misspelt_recipe_is_answered(config: DiffusionConfig) -> None:
    with pytest.raises(InputError, match=r"did you mean ddpm\?"):
        recipes.build("dpdm", DataConfig(source="digits"))


def test_a_message_is_one_printable_line_whatever_it_quotes() -> None:
    assert str(InputError("name: a\nb\x1b[31m is none")).isprintable()
    assert "\\n" in str(InputError("name: a\nb is none"))
