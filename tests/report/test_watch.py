"""`sumi watch`: the page of a run in training, and what is not served."""

import http.client
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scripts.browser import chromium
from sumi.boundary.config import to_json
from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError
from sumi.models.model import RunDescription
from sumi.pretrained.shipped import PLACE
from sumi.recipes.configure import configure
from sumi.report.watch import HOST, Watch, state
from sumi.training.lock import training_in
from sumi.training.metrics_log import MetricsLog, read
from sumi.training.run_folder import RunFolder
from sumi.training_run import train
from tests.small_runs import config_of


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("watch") / "run"
    settings = ("training.steps=8", "training.log_every=2", "training.sample_every=4", "training.check_every=4")
    train(config_of(*settings), out=folder)
    (folder / "samples/other.png").write_bytes(b"of somebody else")
    return RunFolder(folder)


@pytest.fixture(scope="module")
def server(run: RunFolder) -> Iterator[Watch]:
    with Watch(run) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def ask(server: Watch, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_page_its_numbers_and_its_samples_are_served(server: Watch, run: RunFolder) -> None:
    answer, page = ask(server, "/")
    assert answer.status == 200
    assert b"http://" not in page.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in page
    assert "default-src 'none'" in str(answer.headers["Content-Security-Policy"])
    found = json.loads(ask(server, "/state")[1])
    assert found["lines"] == read(run.metrics_file)
    assert (found["step"], found["steps"], found["status"]) == (8, 8, "step 8 of 8: done")
    assert found["samples"] == ["00000004.png", "00000008.png"]
    assert any(name.startswith("held_out_") for line in found["lines"] for name in line)
    answer, image = ask(server, "/samples/00000008.png")
    assert image == (run.samples / "00000008.png").read_bytes()
    assert answer.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    "path",
    [
        "/samples/../config.json",
        "/samples/%2e%2e/config.json",
        "/config.json",
        "/samples/00000009.png",
        "/samples/other.png",
        "/samples//00000008.png",
        "//etc/passwd",
        "/samples/00000008.png/",
    ],
)
def test_nothing_else_is_served(server: Watch, path: str) -> None:
    assert ask(server, path)[0].status == 404


def test_another_host_and_other_methods_are_refused(server: Watch) -> None:
    assert ask(server, "/", Host=f"localhost:{server.server_port}")[0].status == 200
    assert ask(server, "/state", Host=f"evil.example:{server.server_port}")[0].status == 403
    assert ask(server, "/state", Host="")[0].status == 403
    assert ask(server, "/state", method="POST")[0].status == 501
    assert server.server_address[0] == HOST


def test_only_new_lines_are_sent_unless_the_log_was_cut_back(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    copy = RunFolder(tmp_path / "run")
    whole = state(copy)["lines"]
    last = whole[-1]["step"]
    assert state(copy, len(whole), last) | {"status": ""} == state(copy) | {
        "status": "",
        "first": len(whole),
        "lines": [],
    }
    MetricsLog(copy.metrics_file).cut_back(4)
    cut = state(copy, len(whole), last)
    assert cut["first"] == 0
    assert cut["lines"] == read(copy.metrics_file) == whole[: len(cut["lines"])]
    assert cut["status"] == "step 4 of 8: stopped; sumi train … --resume goes on"
    with copy.metrics_file.open("a") as file:
        file.write('{"step": 5, "loss": 1.0, "items_per_second": 8.0}\n')
    more = state(copy, len(cut["lines"]), 4)
    assert [line["step"] for line in more["lines"]] == [5]
    assert state(copy, len(cut["lines"]), 3)["first"] == 0


def test_a_page_that_is_closed_while_it_is_sent_shows_no_traceback(
    run: RunFolder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run/samples/00000012.png").write_bytes(bytes(2**26))  # more than a connection holds
    with Watch(RunFolder(tmp_path / "run")) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        before = threading.active_count()
        with socket.create_connection((HOST, found.server_port), timeout=10) as page:
            page.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            page.sendall(f"GET /samples/00000012.png HTTP/1.0\r\nHost: {HOST}:{found.server_port}\r\n\r\n".encode())
            assert page.recv(4)
        end = time.monotonic() + 30
        while threading.active_count() > before and time.monotonic() < end:
            time.sleep(0.01)
        found.shutdown()
    assert capfd.readouterr().err == ""


def test_while_a_part_is_trained_the_page_names_it(tmp_path: Path) -> None:
    """Of a run of latents, whose own log begins once its autoencoder is trained."""
    run = RunFolder(tmp_path)
    config = configure("latent", data="digits", steps=4, settings=["autoencoder.steps=4"])
    run.write_config(to_json(RunDescription.of(config, load(DataConfig("digits")))))
    with training_in(run.path, print):
        assert state(run)["status"].startswith("the autoencoder is trained, 0 of 4 steps, in")
    assert state(run)["status"] == "nothing is trained here now"


def test_a_log_that_is_damaged_is_reported_and_the_page_stays(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run/metrics.jsonl").write_text("no\n")
    with Watch(RunFolder(tmp_path / "run")) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        answer, body = ask(found, "/state")
        assert answer.status == 503
        assert "metrics.jsonl:1" in json.loads(body)["error"]
        assert ask(found, "/state?lines=x")[0].status == 503
        assert ask(found, "/")[0].status == 200
        with pytest.raises(InputError, match=f"port: {found.server_port} cannot be used"):
            Watch(RunFolder(tmp_path / "run"), found.server_port)
        found.shutdown()


def test_what_is_no_run_or_no_port_is_refused(run: RunFolder, tmp_path: Path, capsys) -> None:
    assert main(["watch", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert main(["watch", str(run.path), "--port", "70000"]) == 2
    assert "--port: 70000 is none" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")
def test_a_browser_shows_it(server: Watch) -> None:
    """The script runs under its own policy: both charts, both grids and the status are there."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run(["chromium", *flags, server.address], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("<polyline") >= 3
    assert done.stdout.count("<figure") == 2
    assert "step 8 of 8: done" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no browser")
def test_of_a_run_that_was_removed_and_trained_anew_nothing_old_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("websocket", reason="the browser is driven by websocket-client")
    from scripts.browser import Browser

    def fill(colour: str, loss: float) -> RunFolder:
        shutil.copytree(PLACE / "digits", tmp_path / "run")
        (tmp_path / "run/samples").mkdir()
        Image.new("RGB", (30, 30), colour).save(tmp_path / "run/samples/00000100.png")
        lines = ({"step": step, "loss": loss / step, "items_per_second": 9.0} for step in range(10, 101, 10))
        (tmp_path / "run/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return RunFolder(tmp_path / "run")

    red = """(() => {
      const image = document.querySelector('#samples img'), paint = document.createElement('canvas').getContext('2d');
      if (!image?.complete) return null;
      paint.drawImage(image, 0, 0);
      return paint.getImageData(5, 5, 1, 1).data[0];
    })()"""
    with Watch(fill("red", 1)) as found, Browser() as browser:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        browser.open(found.address)
        browser.until(f"{red} === 255 && log[0].loss === 0.1")
        shutil.rmtree(tmp_path / "run")
        browser.until("document.getElementById('left').textContent.startsWith('no answer')")
        fill("blue", 7)
        browser.until(f"{red} === 0 && log[0].loss === 0.7 && log.length === 10")
        found.shutdown()
