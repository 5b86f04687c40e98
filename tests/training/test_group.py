"""Several processes that train together do what one does, and end together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sumi
from sumi.boundary.group import Group, group, joined
from sumi.errors import InputError
from sumi.models.diffusion.likelihood import likelihood
from sumi.models.run import load
from sumi.training.checkpoint import load_checkpoint, load_latest
from sumi.training_run import Events, train
from tests.processes import FREE, RUNS, SMALL, STEPS, ended, once_trained, settings_of, start

BOTH = """
import json
import sys
from dataclasses import asdict
from pathlib import Path
import torch
import sumi
from safetensors.torch import save_file
from sumi.boundary.group import joined
from sumi.models.diffusion.likelihood import likelihood
from tests.processes import RUNS, STEPS, settings_of

out = Path(sys.argv[1])
for name in RUNS:
    recipe, settings, data = settings_of(name)
    sumi.train(recipe, data=data, out=out / name, steps=STEPS, settings=settings, device="cpu", progress=False)
recipe, settings, data = settings_of("ddpm")
for steps in (2, STEPS):
    sumi.train(recipe, data=data, out=out / "resumed", steps=steps, settings=settings, device="cpu", resume=True)
with joined() as group:
    model = sumi.load(out / "resumed", device="cpu")
    made = group.shared(lambda part: model.sample(len(part), start=part.start, steps=2), range(3, 45), 8)
    save_file({"made": made}, out / f"made{group.rank}.safetensors")
    found, _ = likelihood(model, n=130, evaluations=2)
    (out / f"nll{group.rank}.json").write_text(json.dumps(asdict(found)))
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of all runs, trained by two processes."""
    out = tmp_path_factory.mktemp("both")
    for code, text in ended(start(["-c", BOTH, str(out)]), within=240):
        assert code == 0, text
    return out


def checkpoint(run: Path, step: int = STEPS):
    return load_checkpoint(run / "checkpoints" / f"{step:08d}")


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_does(name: str, both: Path, tmp_path: Path) -> None:
    recipe, settings, data = settings_of(name)
    sumi.train(recipe, data=data, out=tmp_path / "one", steps=STEPS, settings=settings, device="cpu")
    one, two = checkpoint(tmp_path / "one"), checkpoint(both / name)
    assert one.model.keys() == two.model.keys()
    for key, value in one.model.items():
        if (name, key) in FREE:
            continue
        assert float((value.double() - two.model[key].double()).abs().max()) < 1e-6, key
    assert two.state["processes"] == 2


def test_resumed_by_as_many_processes_a_run_is_the_same_bit_for_bit(both: Path) -> None:
    whole, resumed = checkpoint(both / "ddpm"), checkpoint(both / "resumed")
    for name in ("model", "ema", "optimizer"):
        mine, other = getattr(whole, name), getattr(resumed, name)
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_one_process_goes_on_with_what_two_have_begun(both: Path, tmp_path: Path) -> None:
    """And it says that the bits are others from there on."""
    recipe, settings, data = settings_of("ddpm")
    shutil.copytree(both / "resumed", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/00000004")
    message: list[str] = []
    options = {"data": data, "out": tmp_path / "run", "steps": STEPS, "settings": settings, "device": "cpu"}
    train(recipe, **options, resume=True, events=Events(message.append))
    assert any("processes was 2, is 1: the run continues, but is not bit-identical" in line for line in message)
    whole, mixed = checkpoint(both / "ddpm").model, checkpoint(tmp_path / "run").model
    assert max(float((whole[key] - mixed[key]).abs().max()) for key in whole) < 1e-6


def test_the_log_is_of_all_and_written_once(both: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (both / "ddpm/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [STEPS]
    recipe, own, data = settings_of("ddpm")
    sumi.train(recipe, data=data, out=tmp_path / "one", steps=STEPS, settings=own, device="cpu")
    expected = json.loads((tmp_path / "one/metrics.jsonl").read_text())
    for name in ("loss", "gradient_norm"):
        assert lines[0][name] == pytest.approx(expected[name], rel=1e-5)
    assert not (both / "ddpm/.lock").exists()


TRAIN = ["-m", "sumi", "train", "ddpm", "--data", "digits", "--report", "none"]


def settings(*more: str) -> list[str]:
    return [word for one in (*SMALL, *more) for word in ("--set", one)]


def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start([*TRAIN, *settings("training.checkpoint_every=1"), "--steps", "100000", "--out", str(run)])
    once_trained(run, 1)
    processes[1].send_signal(signal.SIGTERM)
    (first, message), (second, other) = ended(processes, within=30)
    assert (first, second) == (143, 143), message + other
    step = load_latest(run / "checkpoints", lambda *_: None)[0].step
    assert f"stopped after step {step}, which is saved" in message
    assert "stopped" not in other  # it is said once


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.slow
def test_where_one_process_is_lost_the_other_ends_within_ten_seconds_and_names_it(how, tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start([*TRAIN, *settings("training.checkpoint_every=1"), "--steps", "100000", "--out", str(run)])
    once_trained(run, 1)
    processes[1].send_signal(how)
    begun = time.monotonic()
    try:
        code = processes[0].wait(timeout=10)
    finally:
        taken = time.monotonic() - begun
        processes[1].kill()
    message = ended(processes, within=10)[0][1]
    assert code == 1
    assert taken < 10
    assert "of processes 0 to 1, 1 has ended, or no longer answers; the last checkpoint is kept" in message, message
    assert load_latest(run / "checkpoints", lambda *_: None)[0].step >= 1


WAITING = """
import time
from sumi.boundary.group import joined

with joined() as group:
    print("here", flush=True)
    group.wait() if group.first else time.sleep(60)
"""


def test_what_is_no_training_is_not_to_be_resumed() -> None:
    """Such as an evaluation."""
    processes = start(["-c", WAITING])
    assert processes[1].stdout is not None
    assert processes[1].stdout.readline() == "here\n"
    processes[1].kill()
    try:
        message, _ = processes[0].communicate(timeout=30)
    finally:
        processes[0].kill()
    assert "of processes 0 to 1, 1 has ended, or no longer answers; start all again\n" in message
    assert "resume" not in message


def test_wrong_input_is_reported_once(tmp_path: Path) -> None:
    command = [*TRAIN, *settings("training.batch_size=9"), "--steps", "2", "--out", str(tmp_path / "run")]
    (first, message), (second, other) = ended(start(command), within=60)
    assert (first, second) == (2, 2)
    expected = "sumi: training.batch_size: 2 processes cannot share 9 items equally; give a multiple of 2"
    assert expected in message.splitlines()
    assert "cannot share" not in other


@pytest.mark.slow
def test_processes_that_are_started_again_resume_and_end_bit_equal(tmp_path: Path, both: Path) -> None:
    """As torchrun does after one was killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    end = [*settings("training.checkpoint_every=20"), "--steps", "300"]
    for name in ("whole", "killed"):
        command = [*launcher, *TRAIN, *end, "--out", str(tmp_path / name)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if name == "killed":
            once_trained(tmp_path / name, 20)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[-1]), signal.SIGKILL)
        text = process.communicate(timeout=150)[0].decode()
        assert process.returncode == 0, text
    whole, killed = (checkpoint(tmp_path / name, 300) for name in ("whole", "killed"))
    assert all(torch.equal(whole.ema[key], killed.ema[key]) for key in whole.ema)


def test_samples_that_two_processes_share_are_those_of_one(both: Path) -> None:
    """Six batches, the last of two: to the bit, in each process."""
    model = load(both / "resumed", device="cpu")
    whole = model.sample(42, start=3, steps=2, batch_size=8)
    for rank in range(2):
        assert torch.equal(load_file(both / f"made{rank}.safetensors")["made"], whole)


def test_the_likelihood_that_two_processes_share_is_that_of_one(both: Path) -> None:
    """Three batches of items, the last of two, by the bound and by the ODE: to the bit, in each process."""
    model = load(both / "resumed", device="cpu")
    whole, _ = likelihood(model, n=130, evaluations=2)
    for rank in range(2):
        assert json.loads((both / f"nll{rank}.json").read_text()) == json.loads(json.dumps(asdict(whole)))


ALONE = """
import time
from datetime import timedelta
import torch.distributed.distributed_c10d as c10d
from sumi.boundary.group import joined

c10d.default_pg_timeout = timedelta(seconds=1)
with joined() as group, group.in_turn():
    if group.first:
        time.sleep(3)
with joined() as group:
    print(group.aside().largest(group.rank if group.rank or time.sleep(3) else 0))
"""


def test_what_the_first_process_does_alone_may_take_longer_than_an_exchange_of_torch_does() -> None:
    """That is 30 minutes, less than the encoding of a large set; here it is a second."""
    found = ended(start(["-c", ALONE]), within=240)
    assert [code for code, _ in found] == [0, 0], found


def test_one_process_is_a_group_of_one() -> None:
    alone = group()
    assert (alone.rank, alone.size, alone.first) == (0, 1, True)
    assert alone.part(6) == slice(0, 6)
    x = torch.ones(2, requires_grad=True)
    assert alone.total(x) is x
    assert alone.together(x) is x
    assert alone.largest(3) == 3
    assert alone.shared(lambda part: torch.arange(len(part)), range(9), 4).tolist() == [*range(9)]
    module = torch.nn.Linear(1, 1)
    assert alone.wrap(module) is module


def test_the_parts_of_all_processes_are_the_whole() -> None:
    positions = list(range(12))
    assert [p for rank in range(3) for p in positions[Group(rank, 3).part(12)]] == positions


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: two is no number of a process; start them with torchrun"),
        ({"WORLD_SIZE": "2"}, r"RANK: -1 is none of 2 processes \(WORLD_SIZE\); start them with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, r"RANK: 2 is none of 2 processes"),
    ],
)
def test_an_environment_that_says_nothing_is_refused(monkeypatch, environment: dict[str, str], answer: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^{answer}"), joined():
        pass
