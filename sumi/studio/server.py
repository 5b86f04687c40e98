"""The studio as a web server on this machine: addresses, and what each answers. The work is `Studio`'s."""

import asyncio
import json
import mimetypes
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sumi.boundary.config import from_json, parse_json
from sumi.errors import InputError, SumiError
from sumi.studio.comparing import Comparing
from sumi.studio.explanations import Noising, plane_of
from sumi.studio.jobs import Full, Job
from sumi.studio.making import Making
from sumi.studio.models import file_of, log_of, sheet_of, shown_of
from sumi.studio.safety import REPORT_POLICY, Guard
from sumi.studio.studio import Studio
from sumi.studio.trainings import Order, Recipe

if TYPE_CHECKING:
    from sumi.training.run_folder import RunFolder

STATIC: Final = Path(__file__).parent / "static"
HOST: Final = "127.0.0.1"
MOST_FOLLOWERS: Final = 128
DOCTOR: Final = ("seen.png", "copies.png")
mimetypes.add_type("text/javascript", ".js")  # whatever this machine's own table says


class JSON(JSONResponse):
    """In ASCII, which can hold names of files that are not UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


async def body_of(request: Request) -> Any:
    """The JSON of a request. Raises InputError."""
    return parse_json(await request.body(), "request", "send JSON")


class Pages:
    """The addresses of a studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.files = {path.name: path for path in STATIC.iterdir()}

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/static/{name}", self.static),
            Route("/api/state", self.state),
            Route("/api/events", self.events),
            Route("/api/models", self.models),
            Route("/api/models/{key}/sheet", self.sheet),
            Route("/api/make", self.make, methods=["POST"]),
            Route("/api/jobs/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/jobs/{id}/preview", self.preview),
            Route("/api/history/{id}/forget", self.forget, methods=["POST"]),
            Route("/api/uploads", self.upload, methods=["POST"]),
            Route("/pictures/{folder}/{name}", self.picture),
            Route("/api/choices", self.choices),
            Route("/api/examine", self.examine, methods=["POST"]),
            Route("/api/train", self.train, methods=["POST"]),
            Route("/api/trainings/{id}/{what}", self.training, methods=["POST"]),
            Route("/api/trainings/{id}/log", self.training_log),
            Route("/api/trainings/{id}/samples", self.training_samples),
            Route("/api/trainings/{id}/samples/{name}", self.training_sample),
            Route("/doctor/{id}/{name}", self.doctor),
            Route("/api/models/{key}/schedule", self.schedule),
            Route("/api/models/{key}/solvers", self.solvers),
            Route("/api/compare", self.compare, methods=["POST"]),
            Route("/api/schedule", self.draw, methods=["POST"]),
            Route("/api/noising", self.noising, methods=["POST"]),
            Route("/api/plane/{cloud}/{schedule}", self.plane),
            Route("/api/runs/{key}/log", self.log),
            Route("/api/runs/{key}/files", self.run_files),
            Route("/runs/{key}/{place}/{name}", self.run_file),
        ]

    async def page(self, _request: Request) -> Response:
        return FileResponse(self.files["index.html"])

    async def static(self, request: Request) -> Response:
        if (file := self.files.get(request.path_params["name"])) is None:
            raise HTTPException(404)
        return FileResponse(file, headers={"cache-control": "no-cache"})

    async def state(self, _request: Request) -> Response:
        return JSON(await run_in_threadpool(self.studio.state))

    async def events(self, request: Request) -> Response:
        if self.studio.events.followers >= MOST_FOLLOWERS:
            raise HTTPException(429, f"{MOST_FOLLOWERS} pages are open already; close one")
        number = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        after = int(number) if number.isascii() and number.isdecimal() and len(number) < 16 else 0
        return StreamingResponse(self.studio.events.follow(after), media_type="text/event-stream")

    async def models(self, _request: Request) -> Response:
        return JSON(await run_in_threadpool(self.studio.models.listed))

    async def sheet(self, request: Request) -> Response:
        run = await run_in_threadpool(self.studio.models.find, request.path_params["key"])
        if not run.shipped:
            raise HTTPException(404)
        return FileResponse(sheet_of(run.key))

    async def make(self, request: Request) -> Response:
        making = from_json(Making, await body_of(request))
        job = await run_in_threadpool(self.studio.make, making)
        return JSON({"id": job.id}, 202)

    def _job(self, request: Request) -> Job:
        if (job := self.studio.jobs.find(request.path_params["id"])) is None:
            raise HTTPException(404)
        return job

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        await run_in_threadpool(self.studio.jobs.cancel, job)
        return JSON({})

    async def preview(self, request: Request) -> Response:
        if not (preview := self._job(request).preview):
            raise HTTPException(404)
        return Response(preview, media_type="image/png")

    async def forget(self, request: Request) -> Response:
        id = request.path_params["id"]
        if not await run_in_threadpool(self.studio.folder.forget, id):
            raise HTTPException(404)
        self.studio.events.emit("forgotten", {"id": id})
        return JSON({})

    async def upload(self, request: Request) -> Response:
        name = await run_in_threadpool(self.studio.folder.upload, await request.body())
        return JSON({"picture": name}, 201)

    async def picture(self, request: Request) -> Response:
        name = f"{request.path_params['folder']}/{request.path_params['name'].removesuffix('.png')}"
        file = await run_in_threadpool(self.studio.folder.picture, name)
        headers = {"cache-control": "private, max-age=86400"}
        if "save" in request.query_params:
            return FileResponse(file, headers=headers, filename=f"sumi-{name.replace('/', '-')}.png")
        return FileResponse(file, headers=headers, media_type="image/png")

    async def choices(self, _request: Request) -> Response:
        return JSON(await run_in_threadpool(self.studio.choices))

    async def examine(self, request: Request) -> Response:
        recipe = from_json(Recipe, await body_of(request))
        job = await run_in_threadpool(self.studio.examine, recipe)
        return JSON({"id": job.id}, 202)

    async def train(self, request: Request) -> Response:
        order = from_json(Order, await body_of(request))
        training = await run_in_threadpool(self.studio.train, order)
        return JSON({"id": training.id}, 201)

    async def training(self, request: Request) -> Response:
        trainings = self.studio.trainings
        acts = {"stop": trainings.stop, "resume": trainings.resume, "remove": trainings.remove}
        if (act := acts.get(request.path_params["what"])) is None:
            raise HTTPException(404)
        await run_in_threadpool(act, await run_in_threadpool(trainings.find, request.path_params["id"]))
        return JSON({})

    def _run_of(self, request: Request) -> "RunFolder":
        from sumi.training.run_folder import RunFolder

        trainings = self.studio.trainings
        return RunFolder(trainings.place(trainings.find(request.path_params["id"])))

    async def training_log(self, request: Request) -> Response:
        return JSON(await run_in_threadpool(lambda: log_of(self._run_of(request))))

    async def training_samples(self, request: Request) -> Response:
        return JSON(await run_in_threadpool(lambda: shown_of(self._run_of(request)).get("samples", [])))

    async def training_sample(self, request: Request) -> Response:
        name = request.path_params["name"]
        return FileResponse(await run_in_threadpool(lambda: file_of(self._run_of(request), "samples", name)))

    async def doctor(self, request: Request) -> Response:
        id, name = request.path_params["id"], request.path_params["name"]
        file = self.studio.folder.doctor / id / name
        if self.studio.jobs.find(id) is None or name not in DOCTOR or not file.is_file():
            raise HTTPException(404)
        return FileResponse(file)

    async def schedule(self, request: Request) -> Response:
        from sumi.studio.schedules import curves

        key = request.path_params["key"]
        found = await run_in_threadpool(lambda: curves(self.studio.models.load(key).network_denoiser.schedule))
        return JSON(found)

    async def draw(self, request: Request) -> Response:
        from sumi.studio.schedules import Drawing

        drawing = from_json(Drawing, await body_of(request))
        return JSON(await run_in_threadpool(self.studio.draw, drawing))

    async def solvers(self, request: Request) -> Response:
        return JSON(await run_in_threadpool(self.studio.compared, request.path_params["key"]))

    async def compare(self, request: Request) -> Response:
        job = await run_in_threadpool(self.studio.compare, from_json(Comparing, await body_of(request)))
        return JSON({"id": job.id}, 202)

    async def noising(self, request: Request) -> Response:
        noising = from_json(Noising, await body_of(request))
        return Response(await run_in_threadpool(self.studio.noise, noising), media_type="image/png")

    async def plane(self, request: Request) -> Response:
        cloud, schedule = request.path_params["cloud"], request.path_params["schedule"]
        return JSON(await run_in_threadpool(plane_of, cloud, schedule))

    async def log(self, request: Request) -> Response:
        folder = await run_in_threadpool(self.studio.models.folder, request.path_params["key"])
        return JSON(await run_in_threadpool(log_of, folder))

    async def run_files(self, request: Request) -> Response:
        folder = await run_in_threadpool(self.studio.models.folder, request.path_params["key"])
        return JSON(await run_in_threadpool(shown_of, folder))

    async def run_file(self, request: Request) -> Response:
        folder = await run_in_threadpool(self.studio.models.folder, request.path_params["key"])
        place, name = request.path_params["place"], request.path_params["name"]
        file = await run_in_threadpool(file_of, folder, place, name)
        page = file.suffix == ".html"
        return FileResponse(file, headers={"content-security-policy": REPORT_POLICY} if page else None)


async def refused(_request: Request, error: Exception) -> Response:
    """What the page shows of an error."""
    match error:
        case InputError():
            status = 400
        case Full():
            status = 429
        case _:
            status = 500
    return JSON({"error": str(error)}, status)


async def not_served(_request: Request, error: Exception) -> Response:
    match error:
        case HTTPException(status_code=status, detail=detail):
            return JSON({"error": detail}, status)
        case _:
            raise error


async def gone(_request: Request, _error: Exception) -> Response:
    """The page was closed while it sent something."""
    return Response(status_code=400)


def application(studio: Studio, token: str, port: int) -> Guard:
    """The studio's ASGI application, for requests to this ``port`` that know the ``token``."""

    @asynccontextmanager
    async def living(_app: Starlette) -> AsyncGenerator[None]:
        studio.events.bind(asyncio.get_running_loop())
        yield
        studio.events.bind(None)

    handlers: Mapping[Any, Any] = {SumiError: refused, HTTPException: not_served, ClientDisconnect: gone}
    app = Starlette(routes=Pages(studio).routes(), lifespan=living, exception_handlers=handlers)
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
    return Guard(app, token, hosts, f"sumi-studio-{port}")


def listening(port: int) -> socket.socket:
    """A socket on this machine's loopback address; port 0: any that is free. Raises InputError where it is taken."""
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise InputError(f"port: {port} cannot be used ({error}); give another, or 0 for any") from None


def serve(
    studio: Studio,
    at: socket.socket,
    token: str,
    ready: Callable[[str], None],
    stoppable: Callable[[Callable[[], None]], None] = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM, or until the function is called that ``stoppable`` gets.

    ``ready`` gets the link once pages can be opened. Raises InputError where another studio has the folder.
    """
    port = at.getsockname()[1]
    link = f"http://{HOST}:{port}/?token={token}"
    with studio.folder.held(f"http://{HOST}:{port}/"):
        settings = uvicorn.Config(
            application(studio, token, port),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
            lifespan="on",
        )
        studio.trainings.start()
        server = _Server(settings, lambda: ready(link), studio)
        stoppable(lambda: setattr(server, "should_exit", True))
        try:
            server.run(sockets=[at])
        finally:
            studio.close()


class _Server(uvicorn.Server):
    """Says when it serves, and ends its streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], studio: Studio) -> None:
        super().__init__(config)
        self.ready, self.studio = ready, studio

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.studio.events.bind(None)
        await anyio.sleep(0)
        await super().shutdown(sockets)
