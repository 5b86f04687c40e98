"""The studio as a web server on this machine: addresses, and what each answers. The work is `Studio`'s."""

import asyncio
import mimetypes
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

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
from sumi.studio.jobs import Full, Job
from sumi.studio.making import Making
from sumi.studio.models import sheet_of
from sumi.studio.safety import Guard
from sumi.studio.studio import Studio

STATIC: Final = Path(__file__).parent / "static"
HOST: Final = "127.0.0.1"
MOST_FOLLOWERS: Final = 128
mimetypes.add_type("text/javascript", ".js")  # whatever this machine's own table says


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
        ]

    async def page(self, _request: Request) -> Response:
        return FileResponse(self.files["index.html"])

    async def static(self, request: Request) -> Response:
        if (file := self.files.get(request.path_params["name"])) is None:
            raise HTTPException(404)
        return FileResponse(file, headers={"cache-control": "no-cache"})

    async def state(self, _request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.studio.state))

    async def events(self, request: Request) -> Response:
        if self.studio.events.followers >= MOST_FOLLOWERS:
            raise HTTPException(429, f"{MOST_FOLLOWERS} pages are open already; close one")
        number = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        after = int(number) if number.isascii() and number.isdecimal() and len(number) < 16 else 0
        return StreamingResponse(self.studio.events.follow(after), media_type="text/event-stream")

    async def models(self, _request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.studio.models.listed))

    async def sheet(self, request: Request) -> Response:
        run = await run_in_threadpool(self.studio.models.find, request.path_params["key"])
        if not run.shipped:
            raise HTTPException(404)
        return FileResponse(sheet_of(run.key))

    async def make(self, request: Request) -> Response:
        making = from_json(Making, await body_of(request))
        job = await run_in_threadpool(self.studio.make, making)
        return JSONResponse({"id": job.id}, 202)

    def _job(self, request: Request) -> Job:
        if (job := self.studio.jobs.find(request.path_params["id"])) is None:
            raise HTTPException(404)
        return job

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        await run_in_threadpool(self.studio.jobs.cancel, job)
        return JSONResponse({})

    async def preview(self, request: Request) -> Response:
        if not (preview := self._job(request).preview):
            raise HTTPException(404)
        return Response(preview, media_type="image/png")

    async def forget(self, request: Request) -> Response:
        id = request.path_params["id"]
        if not await run_in_threadpool(self.studio.folder.forget, id):
            raise HTTPException(404)
        self.studio.events.emit("forgotten", {"id": id})
        return JSONResponse({})

    async def upload(self, request: Request) -> Response:
        name = await run_in_threadpool(self.studio.folder.upload, await request.body())
        return JSONResponse({"picture": name}, 201)

    async def picture(self, request: Request) -> Response:
        name = f"{request.path_params['folder']}/{request.path_params['name'].removesuffix('.png')}"
        file = await run_in_threadpool(self.studio.folder.picture, name)
        headers = {"cache-control": "private, max-age=86400"}
        if "save" in request.query_params:
            return FileResponse(file, headers=headers, filename=f"sumi-{name.replace('/', '-')}.png")
        return FileResponse(file, headers=headers, media_type="image/png")


async def refused(_request: Request, error: Exception) -> Response:
    """What the page shows of an error."""
    match error:
        case InputError():
            status = 400
        case Full():
            status = 429
        case _:
            status = 500
    return JSONResponse({"error": str(error)}, status)


async def not_served(_request: Request, error: Exception) -> Response:
    match error:
        case HTTPException(status_code=status, detail=detail):
            return JSONResponse({"error": detail}, status)
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
            timeout_graceful_shutdown=1,
            lifespan="on",
        )
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
