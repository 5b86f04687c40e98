"""Nobody but the page that was opened by the link reaches anything, and that page nothing outside the studio."""

import io
import json
import math
import os
import random
import shutil
import string
import sys
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from sumi.errors import InputError
from sumi.pretrained.shipped import PLACE
from sumi.studio.folder import EXAMINED_KEPT, MOST_UPLOADED, StudioFolder
from sumi.studio.safety import LARGEST_JSON
from sumi.studio.server import Pages, application
from sumi.studio.studio import Studio
from tests.studio.conftest import PORT, TOKEN

GOOD = {"model": "digits", "act": {"type": "sample"}, "steps": 2}


def listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_nothing_is_reached_or_changed_without_the_token(studio, stranger) -> None:
    before = listing(studio.folder.path)
    for route in Pages(studio).routes():
        path = route.path.replace("{", "").replace("}", "")
        for method in ("GET", "POST"):
            headers = {"content-type": "application/json"}
            for cookie in ("", f"sumi-studio-{PORT}=wrong", f"sumi-studio-1={TOKEN}"):
                answer = stranger.request(method, path, json=GOOD, headers={**headers, "cookie": cookie})
                assert answer.status_code == 401, path
                assert "token" in answer.text
    assert stranger.get("/?token=wrong").status_code == 401
    assert listing(studio.folder.path) == before
    assert not studio.jobs.all()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": f"evil.example:{PORT}"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"https://127.0.0.1:{PORT}"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_another_page_is_refused_even_with_the_cookie(page, studio, headers, status) -> None:
    given = {"content-type": "application/json", **headers}
    assert page.post("/api/make", content=b"{}", headers=given).status_code == status
    assert page.post("/api/make", content=b"{}", headers={"content-type": "application/json"}).status_code == 400


def test_a_page_loads_only_its_own_files_and_no_inline_script(page) -> None:
    for path in ("/", "/static/app.js", "/api/state", "/nothing"):
        policy = page.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert page.get(path).headers["x-content-type-options"] == "nosniff"
    html = page.get("/").text
    assert html.count("<script") == html.count('<script type="module" src="/static/')
    assert " on" not in html.replace(" only", "")
    cookie = page.get(f"/?token={TOKEN}", follow_redirects=False).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_bodies_are_bounded(page) -> None:
    long = b'"' + b"a" * LARGEST_JSON + b'"'
    assert page.post("/api/make", content=long, headers={"content-type": "application/json"}).status_code == 413
    large = b"\x89PNG" + bytes(MOST_UPLOADED)
    assert page.post("/api/uploads", content=large, headers={"content-type": "image/png"}).status_code == 413
    bomb = io.BytesIO()
    Image.new("1", (6_000, 6_000)).save(bomb, "PNG")  # a few kB
    answer = page.post("/api/uploads", content=bomb.getvalue(), headers={"content-type": "image/png"})
    assert answer.status_code == 400


def test_no_path_leads_out(page, studio, tmp_path) -> None:
    (studio.folder.path / "secret.png").write_bytes(b"secret")
    for path in (
        "/static/../server.py",
        "/static/%2e%2e%2fserver.py",
        "/static/..%5cserver.py",
        "/pictures/../secret.png",
        "/pictures/..%2f..%2fetc/passwd",
        "/pictures/up/../../secret",
        "/pictures/%2e%2e/secret.png",
        "/api/models/..%2f..%2fetc/sheet",
        "/api/models/digits%00/sheet",
    ):
        answer = page.get(path)
        assert answer.status_code in (400, 404), path
        assert answer.content != b"secret"
        assert b"import" not in answer.content


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode")
def test_a_name_that_is_no_utf8_is_listed_as_any_other(tmp_path) -> None:
    shutil.copytree(PLACE / "digits", os.fsdecode(bytes(tmp_path) + b"/runs/caf\xe9"))
    found = Studio([tmp_path / "runs"], tmp_path / "studio")
    with TestClient(application(found, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}") as client:
        client.get(f"/?token={TOKEN}")
        assert [model["key"] for model in client.get("/api/models").json()][-1].startswith("caf")
        made = client.post("/api/make", json={"model": "caf-", "act": {"type": "sample"}, "steps": 1, "n": 1})
        assert made.status_code == 202, made.text
        assert client.get("/api/state").json()["jobs"][0]["id"] == made.json()["id"]
    found.close()


def test_a_second_studio_on_one_folder_is_refused(tmp_path) -> None:
    folder, other = StudioFolder(tmp_path / "studio"), StudioFolder(tmp_path / "studio")
    words = r"is open in another studio .*127\.0\.0\.1:1"
    with folder.held("http://127.0.0.1:1/"), pytest.raises(InputError, match=words), other.held("x"):
        pass
    with other.held("y"):
        pass


def test_the_oldest_examinations_go_when_a_studio_opens(tmp_path: Path) -> None:
    folder = StudioFolder(tmp_path / "studio")
    names = ["my-own-notes", *(f"{number:012x}" for number in range(EXAMINED_KEPT + 2))]
    for age, name in enumerate(reversed(names)):
        (folder.doctor / name).mkdir(parents=True)
        os.utime(folder.doctor / name, (1e9 - age, 1e9 - age))
    with folder.held("x"):
        left = {path.name for path in folder.doctor.iterdir()}
    assert left == {*names} - {*names[1:3]}


BODIES = {
    "/api/make": [
        GOOD,
        {**GOOD, "act": {"type": "vary", "picture": "up/" + "0" * 32, "strength": 0.5}, "prompt": "x", "label": "3"},
        {**GOOD, "act": {"type": "paint", "picture": "0" * 12 + "/0", "mask": "up/" + "0" * 32}, "guidance": 2.0},
        {**GOOD, "act": {"type": "blend", "picture": "0" * 12 + "/0", "other": "0" * 12 + "/1"}, "solver": "heun"},
    ],
    "/api/examine": [{"recipe": "ddpm", "data": "digits", "settings": ["network.blocks=1", "data.size=8"]}],
    "/api/train": [{"what": {"recipe": "ddpm", "data": "digits", "settings": []}, "run": "a", "steps": 5, "seed": 0}],
    "/api/noising": [{"model": "digits", "t": 0.5, "picture": "up/" + "0" * 32}],
    "/api/schedule": [{"schedule": {"type": "linear", "steps": 50, "beta_end": 0.1}}, {"schedule": {"type": "edm"}}],
    "/api/compare": [{"model": "digits", "solvers": ["ddim"], "evaluations": [2], "n": 2, "frechet": False}],
}
"""What each address takes, which is then changed at random."""
WORDS = ["digits", "sample", "vary", "up/" + "0" * 32, "../..", "/etc/passwd", "", "\u0000", "é" * 50, "1e999", "a=b"]


def a_value(draw: random.Random) -> object:
    """A plain value, seldom one that fits."""
    plain = [None, True, -1, 0, 2**70, 1e308, math.nan, math.inf, -0.5, [], {}, [1] * 50, draw.choice(WORDS)]
    return draw.choice([*plain, "".join(draw.choices(string.printable, k=9)), {"type": draw.choice(WORDS)}])


def changed(draw: random.Random, body: object) -> object:
    """A body with a value anywhere in it replaced, a field left out, or one too many."""
    match body:
        case dict() if body and draw.random() < 0.9:
            name = draw.choice(list(body))
            if draw.random() < 0.15:
                return {key: value for key, value in body.items() if key != name}
            if draw.random() < 0.1:
                return {**body, draw.choice(WORDS): a_value(draw)}
            return {**body, name: changed(draw, body[name])}
        case list() if body and draw.random() < 0.9:
            at = draw.randrange(len(body))
            return [*body[:at], changed(draw, body[at]), *body[at + 1 :]]
    return a_value(draw)


def fuzz(page, studio, count: int, seed: int) -> None:
    """Requests of any method, path and body: no answer is a failure of the server, none holds a file."""
    draw = random.Random(seed)
    routes = [route.path for route in Pages(studio).routes() if route.path != "/api/events"]
    studio.jobs.close()  # what is accepted only waits
    before = {path for path in listing(studio.folder.path) if "/uploads" not in path}
    for _ in range(count):
        route = path = draw.choice(routes + list(BODIES) * 2)
        while "{" in path:
            name = path[path.index("{") : path.index("}") + 1]
            fill = ["digits", "0" * 12, "0.png", "..", "%2e%2e%2f", "a" * 300, "%00", "%F0%9F%92%A9", "-1", " "]
            path = path.replace(name, draw.choice(fill), 1)
        method = draw.choice(["GET", "POST", "POST", "POST", "PUT", "HEAD", "PATCH"])
        if route in BODIES and draw.random() < 0.8:
            method = "POST"
        body: object = draw.choice(BODIES.get(route, [GOOD]))
        for _ in range(draw.randrange(1, 4)):
            body = changed(draw, body)
        headers = {"content-type": draw.choice(["application/json"] * 4 + ["image/png", "text/html"])}
        if draw.random() < 0.1:
            answer = page.request(method, path, content=bytes(draw.choices(range(256), k=40)), headers=headers)
        else:
            answer = page.request(method, path, content=json.dumps(body).encode(), headers=headers)
        assert answer.status_code < 500, (method, path, body, answer.text)
        assert b"root:" not in answer.content
        for job in studio.jobs.all():
            studio.jobs.cancel(studio.jobs.find(job["id"]))
        for training in studio.trainings.all():
            studio.trainings.remove(training)
            studio.trainings._config_file(training).unlink()
    after = {path for path in listing(studio.folder.path) if "/uploads" not in path}
    assert after - before <= {str(studio.folder.queue), str(studio.folder.queue_file)}


def test_any_request_gets_an_answer(page, studio) -> None:
    fuzz(page, studio, 200, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_requests_get_an_answer(page, studio) -> None:
    fuzz(page, studio, 10_000, seed=2)
