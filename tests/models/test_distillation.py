"""Students of one to four steps: trained, resumed bit for bit, guided by what they have learned, on their own."""

import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sumi
from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.conditioning.guidance import GuidanceConditioner
from sumi.data.batch import batch_of
from sumi.data.open import open_data
from sumi.data.vectors import VectorDataset
from sumi.denoising.parameterization import PredictClean
from sumi.distillation import student_of
from sumi.errors import InputError
from sumi.evaluation.solvers import OF_TEACHER, compare
from sumi.guidance.guidance import extrapolation
from sumi.models.diffusion.parts import TEACHER, teacher_at_hand
from sumi.models.diffusion.tuning import tune
from sumi.objectives.direction import OfTeacher
from sumi.process.schedule import noise_level
from sumi.sampling.sampler import Guidance
from sumi.training.run_folder import RunFolder
from tests.tiny_models import differ

TINY = (
    *("network.widths=32", "network.blocks=1", "network.embedding=32", "training.batch_size=8"),
    *("training.sample_every=0", "training.checkpoint_every=2", "training.warmup_steps=0"),
)
QUICK = ("training.learning_rate=0.05", "training.ema_decay=0.5")  # so that four steps tell the classes apart
METHODS = ("consistency", "mean_flow", "progressive")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A teacher of labelled digits by each of three recipes, on other schedules."""
    folder = tmp_path_factory.mktemp("runs")
    for recipe in ("flow", "ddpm", "classifier-free"):
        labels = ["conditioning=labels"] if recipe == "flow" else []
        sumi.train(recipe, data="digits", steps=4, settings=[*TINY, *QUICK, *labels], out=folder / recipe)
    return folder


def weights(run: Path, step: int, which: str = "ema") -> dict[str, torch.Tensor]:
    return load_file(RunFolder(run).checkpoints / f"{step:08d}" / f"{which}.safetensors")


@pytest.mark.parametrize("method", METHODS)
def test_a_student_resumes_bit_for_bit_and_goes_where_its_teacher_is_not(runs: Path, method, tmp_path: Path) -> None:
    """With a range of guidance, so that every method keeps a teacher."""
    given = {"method": method, "guidance": (1.0, 3.0), "seed": 3}
    whole = sumi.distil(runs / "flow", out=tmp_path / "whole", steps=4, **given)
    sumi.distil(runs / "flow", out=tmp_path / "parts", steps=2, **given)
    sumi.distil(runs / "flow", out=tmp_path / "parts", steps=4, resume=True)
    for which in ("ema", "model"):
        once, twice = (weights(tmp_path / name, 4, which) for name in ("whole", "parts"))
        if method != "consistency":  # whose gaps follow from the number of steps
            assert all(torch.equal(once[name], twice[name]) for name in once)
    teacher = sumi.load(runs / "flow")
    assert whole.description.start is not None
    assert whole.description.start.weights == teacher.digest
    assert whole.config.objective.teacher.weights == teacher.digest
    moved = shutil.move(tmp_path / "whole", tmp_path / "moved")
    alone = sumi.load(moved)
    made = alone.sample(2, steps=1, label="3", guidance=2.0)
    assert torch.equal(made, whole.sample(2, steps=1, label="3", guidance=2.0))
    with pytest.raises(InputError, match=r"^guidance.scale: 5 is out of range; this model has learned 1 to 3$"):
        alone.sample(1, label="3", guidance=5.0)
    part = RunFolder(moved).part(TEACHER).path
    shutil.rmtree(part)
    sumi.load(runs / "ddpm").save(part)
    with pytest.raises(InputError, match=r"teacher: is not the teacher that the run began with"):
        sumi.distil(runs / "flow", out=moved, steps=6, resume=True)
    shutil.rmtree(part)
    with pytest.raises(InputError, match=r"teacher: is gone, and the run learns from it"):
        sumi.distil(runs / "flow", out=moved, steps=6, resume=True)
    assert torch.equal(sumi.load(moved).sample(2, steps=1, label="3", guidance=2.0), made)


def test_consistency_tuning_resumes_bit_for_bit(runs: Path, tmp_path: Path) -> None:
    """From a checkpoint on the way: the gaps are those of the whole training. No teacher is kept."""
    sumi.distil(runs / "ddpm", out=tmp_path / "run", steps=4)
    before = weights(tmp_path / "run", 4, "model")
    shutil.rmtree(RunFolder(tmp_path / "run").checkpoints / "00000004")
    for other, answer in (
        (
            {"method": "progressive"},
            r"^method: .*run was begun with consistency; leave it out to resume, or give another",
        ),
        ({"guidance": 2.0}, r"^guidance: .*run was begun with 1; leave it out to resume, or give another out"),
        ({"guidance": (1.0, 3.0)}, r"^guidance: .*run was begun with 1; leave"),
    ):
        with pytest.raises(InputError, match=answer):
            sumi.distil(runs / "ddpm", out=tmp_path / "run", resume=True, **other)
    with pytest.raises(InputError, match=r"^out: .*flow is no student, to be continued; resume it with `sumi train`"):
        sumi.distil(runs / "ddpm", out=runs / "flow", resume=True)
    model = sumi.distil(runs / "ddpm", out=tmp_path / "run", resume=True, method="consistency", guidance=1)
    after = weights(tmp_path / "run", 4, "model")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not RunFolder(tmp_path / "run").part(TEACHER).path.exists()
    assert model.config.parameterization.name == "bounded_noise"


def test_the_way_of_an_unguided_teacher_is_one_setting_and_resumed_with_it(runs: Path, tmp_path: Path) -> None:
    kept = {"settings": ["objective.teacher=kept"], "seed": 3}
    sumi.distil(runs / "flow", out=tmp_path / "run", steps=2, **kept)
    model = sumi.distil(runs / "flow", out=tmp_path / "run", steps=3, resume=True, **kept)
    teacher = model.config.objective.teacher
    assert (teacher.source, teacher.guidance) == (str((runs / "flow").resolve()), 1)
    assert teacher.weights == sumi.load(runs / "flow").digest
    guided = sumi.distil(runs / "flow", out=tmp_path / "guided", steps=1, guidance=2.0, **kept)
    assert guided.config.objective.teacher.guidance == 2
    sumi.distil(runs / "flow", out=tmp_path / "of-data", steps=1)
    with pytest.raises(InputError, match=r"^objective.teacher: .*of-data was begun without one; leave it out"):
        sumi.distil(runs / "flow", out=tmp_path / "of-data", steps=2, resume=True, **kept)


def test_a_student_of_bounded_clean_data_counts_in_full_where_it_learns_from_them(tmp_path: Path) -> None:
    settings = [*TINY, *QUICK, "parameterization=bounded_clean"]
    sumi.train("flow", data="digits", steps=1, settings=settings, out=tmp_path / "teacher")
    student = sumi.distil(tmp_path / "teacher", out=tmp_path / "student", method="progressive", steps=1)
    assert student.config.parameterization == PredictClean()
    assert student.description.start is not None
    objective = student.config.build(student.items)
    student.config.attach(objective, RunFolder(tmp_path / "student"), torch.device("cpu"))
    x, now = torch.randn(1, 1, 8, 8), noise_level(objective.model.schedule, 0.01)
    teacher = sumi.load(tmp_path / "teacher").module
    teacher.parameterization = PredictClean()
    torch.testing.assert_close(objective.direction(x, now, x, None), teacher(x, now).clean)


@pytest.mark.parametrize("method", METHODS)
def test_a_student_begins_as_its_teacher(runs: Path, method, tmp_path: Path) -> None:
    """What it has more, spans and scales, counts nothing at the start."""
    student = sumi.distil(
        runs / "flow",
        out=tmp_path / "run",
        method=method,
        steps=1,
        guidance=(1.0, 3.0),
        settings="training.learning_rate=1e-30",
    )
    teacher, x = sumi.load(runs / "flow"), torch.randn(3, 1, 8, 8)
    condition = teacher.condition_of(range(3), "all")
    theirs, own = (m.denoiser(condition, sampling=None, threshold="none") for m in (teacher, student))
    assert torch.allclose(theirs(x, 0.6).clean, own(x, 0.6).clean, atol=1e-5)
    for name, other in {
        "rescale": 0.5,
        "interval": (0.3, 5.0),
        "method": "apg",
    }.items():  # nothing of these would count
        with pytest.raises(
            InputError, match=rf"^guidance.{name}: this model has learned guidance with that of its teach"
        ):
            student.sample(1, label="3", guidance=Guidance(2.0, **{name: other}))


METHODS_OF_GUIDANCE = (
    Guidance(),
    Guidance(rescale=0.7),
    Guidance(method="apg", parallel=0.2, norm=0.5, rescale=0.3),
)


@pytest.mark.parametrize("guidance", METHODS_OF_GUIDANCE, ids=str)
def test_the_direction_of_a_guided_teacher_is_what_guidance_samples_with(runs: Path, guidance: Guidance) -> None:
    """With the scale of the run, or of each row; at a scale of 1 or of none, and outside of the interval, without."""
    teacher, x = sumi.load(runs / "classifier-free"), torch.randn(4, 1, 8, 8)
    network, t = teacher.gaussian_denoiser(), torch.tensor([0.5, 0.6, 0.7, 0.8], dtype=torch.float64)
    level, condition = noise_level(network.schedule, t), teacher.condition_of(range(4), "all")

    def wanted(scale: float) -> torch.Tensor:
        return teacher.denoiser(condition, threshold="none", guidance=replace(guidance, scale=scale))(x, level).clean

    assert differ(wanted(3.0), wanted(1.0))
    of_teacher = partial(OfTeacher, network, extrapolation(network, network, guidance).combined)
    assert torch.allclose(of_teacher(3.0)(x, level, x, condition), wanted(3.0), atol=1e-5)
    scales = torch.tensor([1.0, 3.0, torch.nan, 2.0])
    found = of_teacher(5.0)(x, level, x, Condition(condition, guidance=scales))
    rows = torch.stack([wanted(scale)[row] for row, scale in enumerate((1.0, 3.0, 1.0, 2.0))])
    assert torch.allclose(found, rows, atol=1e-5)
    noise = (torch.as_tensor(level.log_snr) / -2).exp().tolist()
    found = of_teacher(3.0, (noise[0], noise[2]))(x, level, x, condition)
    rows = torch.stack([wanted(scale)[row] for row, scale in enumerate((1.0, 3.0, 3.0, 1.0))])
    assert torch.allclose(found, rows, atol=1e-5)
    assert torch.allclose(of_teacher(3.0)(x, level, x, None), network(x, level).clean)


def test_scales_are_log_uniform_and_a_share_has_none() -> None:
    data = VectorDataset(np.zeros((2000, 1), np.float32), tuple(map(str, range(2000))))
    batch = batch_of(data, np.arange(2000), np.arange(2000), step=1, seed=1)
    conditioner = GuidanceConditioner(1.0, 4.0, 8, dropout=0.25)
    scales = conditioner.of_data(batch, batch.x, 0)["guidance"]
    given = scales[~scales.isnan()]
    assert float(scales.isnan().float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(given.min()) >= 1
    assert float(given.max()) <= 4
    assert float(given.median()) == pytest.approx(2, abs=0.1)
    nothing = conditioner(conditioner.null(batch.x[:1])).vector
    assert torch.equal(nothing, conditioner(Condition(guidance=torch.ones(1))).vector)


def test_a_guidance_that_is_built_in_is_that_of_the_teacher(runs: Path, tmp_path: Path) -> None:
    """The run's own scale, unless another is given; the student then samples without guidance."""
    student = sumi.distil(runs / "classifier-free", out=tmp_path / "a", steps=1)
    assert student.config.objective.teacher.guidance == 2
    assert student.config.sampling.guidance.scale == 1
    student = sumi.distil(runs / "classifier-free", out=tmp_path / "b", steps=1, guidance=1)
    assert student.config.objective.teacher.name == "none"
    with pytest.raises(InputError, match=r"^guidance: the teacher was trained without a condition to guide to"):
        sumi.distil(runs / "ddpm", out=tmp_path / "c", steps=1, guidance=2)


def test_a_student_learns_the_method_of_its_teacher_or_none(runs: Path, tmp_path: Path) -> None:
    """That of the teacher's own run counts; what is no function of x_t, and a negative class, are refused."""

    def teacher(name: str, *guidance: str) -> Path:
        settings = [*TINY, *QUICK, *(f"sampling.guidance.{one}" for one in guidance)]
        sumi.train("classifier-free", data="digits", steps=4, settings=settings, out=tmp_path / name)
        return tmp_path / name

    made = []
    for run in (teacher("cfg"), teacher("apg", "method=apg", "norm=0.01")):
        sumi.distil(run, out=tmp_path / f"of-{run.name}", steps=1, settings="training.learning_rate=0.01")
        made.append(weights(tmp_path / f"of-{run.name}", 1))
    assert any(not torch.equal(made[0][name], made[1][name]) for name in made[0])
    wrong = {
        r"^guidance: a student follows an ODE, and the teacher's": ("method=cfg++", "scale=0.5"),
        r"^guidance: a student follows an ODE, .* has none": ("method=apg", "momentum=-0.5"),
        r"^guidance: the teacher is guided away from 3, and a student": ("negative=3",),
    }
    for number, (message, guidance) in enumerate(wrong.items()):
        with pytest.raises(InputError, match=message):
            sumi.distil(teacher(f"wrong-{number}", *guidance), out=tmp_path / "none", steps=1)
        sumi.distil(tmp_path / f"wrong-{number}", out=tmp_path / f"unguided-{number}", steps=1, guidance=1)


def test_the_next_halving_takes_half_the_steps(runs: Path, tmp_path: Path) -> None:
    first = sumi.distil(runs / "ddpm", out=tmp_path / "a", steps=1, method="progressive", settings="objective.steps=4")
    second = sumi.load(runs / "ddpm") and first.distil(out=tmp_path / "b", steps=1, method="progressive")
    assert (first.method().name, first.method().steps, second.method().steps) == ("ddim", 4, 2)


def test_a_student_is_compared_with_the_ode_of_its_first_teacher(runs: Path, tmp_path: Path) -> None:
    """Students of students have no other; and a student is one whatever the solver that it is configured with."""
    teacher = shutil.copytree(runs / "ddpm", tmp_path / "teacher")
    halving = {"method": "progressive", "steps": 1, "settings": "objective.steps=2"}
    first = sumi.distil(teacher, out=tmp_path / "first", **halving)
    second = first.distil(out=tmp_path / "second", method="progressive", steps=1)
    for student in (first, second):
        found = teacher_at_hand(student)
        assert found is not None
        assert found.digest == sumi.load(teacher).digest
    compared = compare(second, evaluations=(1,), n=2, reference=4)
    assert [row.solver for row in compared.rows] == ["ddim", OF_TEACHER]
    settings = "sampling.solver=consistency@log_ratio"
    third = sumi.distil(teacher, out=tmp_path / "third", steps=1, settings=settings)
    compared = compare(third, evaluations=(1,), n=2, reference=4)
    assert [row.solver for row in compared.rows] == ["consistency@log_ratio", OF_TEACHER]
    shutil.rmtree(teacher)
    with pytest.raises(InputError, match=r"^solvers: the ODE .* needs velocities of an instant, and .*second was dist"):
        compare(second, evaluations=(1,), n=2, reference=4)
    flow = shutil.copytree(runs / "flow", tmp_path / "flow")
    fourth = sumi.distil(flow, out=tmp_path / "fourth", method="mean_flow", steps=1)
    fifth = fourth.distil(out=tmp_path / "fifth", method="mean_flow", steps=1)
    for gone, first_of_all in ((False, sumi.load(flow)), (True, fourth)):  # which has velocities of its own
        if gone:
            shutil.rmtree(flow)
        found = teacher_at_hand(fifth)
        assert found is not None
        assert found.digest == first_of_all.digest
    for student, answer in ((second, "needs velocities of an instant"), (third, "needs the mean of x_0 given x_t")):
        with pytest.raises(
            InputError, match=f"^tune: it {answer}"
        ):  # else `sample` would take it for the student's own
            tune(student, 4)


def test_what_cannot_be_distilled_is_refused_by_name(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^objective: mean_flow goes along the straight line of schedule=flow, and"):
        sumi.distil(runs / "ddpm", out=tmp_path / "a", method="mean_flow", steps=1)
    with pytest.raises(InputError, match=r"^method: there is no 'lcm'"):
        sumi.distil(runs / "ddpm", out=tmp_path / "a", method="lcm")
    with pytest.raises(InputError, match=r"^objective.teacher: progressive has nothing to learn without one"):
        sumi.configure("flow", data="digits", settings="objective=progressive")
    with pytest.raises(InputError, match=r"^conditioning: guidance is learned by distilling; leave it out$"):
        sumi.configure("flow", data="digits", settings="conditioning=guidance")
    small = ("network.patch=2", "network.depths=1,1", "network.widths=16,16", "network.hidden=16,16")
    heads = ("network.heads=1,1", "network.mapping=1,16,16", "network.embedding=11")
    numbered = sumi.configure("mean-flow", data="digits", settings=["network=hourglass", *small, *heads])
    with pytest.raises(InputError, match=r"^network=hourglass: takes no length of a step"):  # but a class, by number
        numbered.build(open_data("digits").spec)
    for network in ("song", "lucidrains"):
        with pytest.raises(InputError, match=f"^network={network}: takes no length of a step"):
            sumi.configure("mean-flow", data="digits", settings=f"network={network}").build(open_data("digits").spec)
    short = sumi.train("ncsn", data="digits", out=tmp_path / "short", steps=1, settings=TINY)
    assert student_of(short, "progressive").objective.steps == 5
    with pytest.raises(InputError, match=r"8 times within = 2 are more than the 10 times .*; give 5 or fewer"):
        sumi.distil(short, out=tmp_path / "b", method="progressive", settings="objective.steps=8")
    config = replace(sumi.load(runs / "flow").config, sampling=sumi.Sampling(solver="consistency"))
    assert config.objective.name == "denoising"  # a solver is no objective


def test_a_student_learns_more_slowly_than_its_teacher_by_either_optimizer(runs: Path) -> None:
    teacher = sumi.load(runs / "flow")
    rates = replace(teacher.config.training, learning_rate=1.5e-3, muon_learning_rate=0.015)
    for given, muon in ((rates, 0.003), (replace(rates, learning_rate=2e-4), 0.015)):
        teacher.config = replace(teacher.config, training=given)
        training = student_of(teacher).training
        assert training.learning_rate == min(3e-4, given.learning_rate)
        assert training.muon_learning_rate == pytest.approx(muon, rel=1e-12)


def test_the_command_makes_a_student_that_info_knows(runs: Path, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "fast")
    assert main(["distil", str(runs / "flow"), "--out", out, "--steps", "2", "--report", "none"]) == 0
    assert main(["info", out]) == 0
    network_condition = capsys.readouterr().out
    assert (
        f"teacher      {(runs / 'flow').resolve()}, step 4, weights {sumi.load(runs / 'flow').digest[:12]}"
        in network_condition
    )
    assert main(["sample", out, "-n", "2", "--steps", "1", "--out", str(tmp_path / "images")]) == 0
    assert main(["compare", out, "--steps", "1,2", "-n", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[word.strip() for word in line.split("  ") if word.strip()] for line in lines]
    assert [row[:2] for row in rows if row and row[0] in ("consistency", "adams, teacher")] == [
        *(["consistency", "1"], ["consistency", "2"]),
        *(["adams, teacher", "1"], ["adams, teacher", "2"]),
    ]
    away = {row[1]: row[2] for row in rows if row and row[0] == "consistency"}
    assert float(away["1"]) > 0
    assert away["2"] == "draws noise"
    assert main(["distil", str(runs / "flow"), "--out", out, "--guidance", "1,2,3"]) == 2
    assert "--guidance: 1,2,3 is neither a scale nor LOW,HIGH; write 2, or 1,4" in capsys.readouterr().err


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_first_attempt_left_is_no_run(runs: Path, tmp_path: Path, monkeypatch, resume: bool) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    given = {"out": tmp_path / "student", "method": "progressive", "steps": 2}
    with pytest.raises(InputError, match="wandb is not installed"):
        sumi.distil(runs / "flow", **given, settings="training.tracker=wandb")
    assert sumi.distil(runs / "flow", **given, resume=resume).step == 2
    with pytest.raises(InputError, match="already holds a run"):
        sumi.distil(runs / "flow", **given)
    with pytest.raises(InputError, match=r"start: the run began from .*flow, not from .*ddpm"):
        sumi.distil(runs / "ddpm", **given, resume=True)
