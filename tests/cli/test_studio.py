"""``sumi studio``: it starts without torch, prints its link, serves, and closes with Ctrl-C or SIGTERM."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, build_opener, urlopen

import pytest

from sumi.cli.main import main

pytest.importorskip("starlette", reason="the studio needs starlette: pip install 'sumi[studio]'")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_studio_opens_serves_and_closes(tmp_path: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-m", "sumi", "studio", "--port", "0", "--no-browser", "--out", str(tmp_path / "out")]
    begun = time.monotonic()
    studio = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert studio.stdout is not None
        link = re.search(r"http\S+", studio.stdout.readline())
        assert link is not None
        place, _, _ = link[0].partition("?")
        with pytest.raises(HTTPError, match="401"):
            urlopen(place)
        assert time.monotonic() - begun < 20  # 0.5 s on a quiet machine
        assert (
            main(["studio", "--port", "0", "--no-browser", "--out", str(tmp_path / "out")]) == 2
        )  # it is open already
        cookie = build_opener(HTTPCookieProcessor())
        assert b"Sumi studio" in cookie.open(link[0]).read()
        page = cookie.open(f"{place}api/events?after=0")  # a page that stays open
        assert page.readline() == b": here\n"
    finally:
        studio.send_signal(end)
        assert studio.wait(30) == 0
    assert "the studio is closed" in studio.stdout.read()
    assert studio.stderr is not None
    assert studio.stderr.read() == ""


def test_what_is_not_there_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nowhere"], ["--data", "nowhere"], ["--port", "70000"]):
        assert main(["studio", *arguments, "--no-browser", "--out", str(tmp_path)]) == 2
    printed = capfd.readouterr().err
    assert "nowhere is not a folder" in printed
    assert "--data: nowhere is not there" in printed
    assert "--port: 70000 cannot be used" in printed
