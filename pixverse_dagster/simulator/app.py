"""The HTTP server: the routes of the APIs, media and audit, and `serve`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from pixverse_dagster.simulator.apis import APIS
from pixverse_dagster.simulator.console import list_tasks
from pixverse_dagster.simulator.faults import DOWNLOAD_KINDS, KEY, SAMPLES_DIR, Settings
from pixverse_dagster.simulator.links import Links, Samples
from pixverse_dagster.simulator.memory import Keeper
from pixverse_dagster.simulator.responses import TRANSPORT, ClipAnswer, Dropped, Endpoint, base_url
from pixverse_dagster.simulator.sickness import Sicknesses
from pixverse_dagster.simulator.state import SimulatorState

# Longer than any client keeps an idle connection. Otherwise the server could close one just as a submit is sent.
_KEEP_ALIVE_SECONDS = 120
_GRACE_SECONDS = 0.5  # for requests under way when a signal comes


def create_app(settings: Settings) -> Starlette:
    """The simulator as an ASGI application. Faults that drop connections work only under `serve`."""
    state = SimulatorState(settings)
    keeper = Keeper(state, settings.memory)
    sicknesses = Sicknesses(state, [api.NAME for api in APIS])
    folder = (settings.samples_dir or SAMPLES_DIR).resolve()

    def samples(request: Request) -> Samples:
        return Samples(folder, request.headers["host"], (request.scope["server"] or (None, None))[1])

    def links(request: Request, account: str) -> Links:
        return Links(samples(request), state.uploads, account, settings.images)

    def route(path: str, method: str, provider: str, endpoint: Endpoint) -> Route:
        async def counted(request: Request) -> Response:
            answer = await sicknesses.answer(provider, "api", endpoint, request)
            keeper.keep()
            return answer

        return Route(path, counted, methods=[method])

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        yield
        state.templates.close()
        keeper.close()

    apis = [api(state, links) for api in APIS]
    routes = [
        *(route(path, method, api.NAME, endpoint) for api in apis for path, method, endpoint in api.routes()),
        Route("/media/{task_id}/{name}", _media(state, sicknesses, keeper)),
        *_service_routes(state, sicknesses, samples, keeper),
        *_upload_routes(state),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _service_routes(
    state: SimulatorState,
    sicknesses: Sicknesses,
    samples: Callable[[Request], Samples],
    keeper: Keeper,
) -> list[Route]:
    async def tasks(request: Request) -> Response:
        keeper.keep(whole=True)
        return JSONResponse(state.audit(base_url(request)))

    async def console(request: Request) -> Response:
        return JSONResponse(list_tasks(state.tasks.values(), request.query_params.get("account", KEY)))

    async def requests(_request: Request) -> Response:
        return JSONResponse(state.requests)

    async def faults(_request: Request) -> Response:
        return JSONResponse(state.faults.drawn)

    async def reset(_request: Request) -> Response:
        state.reset()
        keeper.forget()
        sicknesses.end({})
        return JSONResponse({})

    async def expire(request: Request) -> Response:
        asked = await request.json()
        return JSONResponse({"expired": state.expire(asked["task_id"], asked.get("output"))})

    async def health(_request: Request) -> Response:
        return JSONResponse({})

    async def sample(request: Request) -> Response:
        path = samples(request).find(request.path_params["name"])
        return FileResponse(path) if path else PlainTextResponse("no such sample", status_code=404)

    return [
        Route("/samples/{name}", sample),
        Route("/_simulator/tasks", tasks),
        Route("/_simulator/console", console),
        Route("/_simulator/requests", requests),
        Route("/_simulator/faults", faults),
        Route("/_simulator/settings", _change(state), methods=["POST"]),
        Route("/_simulator/reset", reset, methods=["POST"]),
        Route("/_simulator/expire", expire, methods=["POST"]),
        Route("/_simulator/sick", sicknesses.asked, methods=["GET", "POST"]),
        Route("/_simulator/heal", sicknesses.asked, methods=["POST"]),
        Route("/_simulator/health", health),
    ]


def _change(state: SimulatorState) -> Callable[[Request], Awaitable[Response]]:
    async def change(request: Request) -> Response:
        try:
            state.change(await request.json())
        except (ValueError, AttributeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({})

    return change


def _upload_routes(state: SimulatorState) -> list[Route]:
    async def kept(_request: Request) -> Response:
        return JSONResponse(state.uploads.audit())

    async def expire(request: Request) -> Response:
        what = (await request.json()).get("what")
        expired = {"forms": state.uploads.expire_forms, "images": state.uploads.forget_images}.get(what)
        return JSONResponse({"expired": expired()} if expired else {"error": "what is forms or images"})

    async def uploaded(request: Request) -> Response:
        found = state.uploads.behind(request.url.path)
        if found is None or found.data is None:
            return PlainTextResponse("NoSuchKey", status_code=404)
        return Response(found.data, media_type=found.content_type)

    return [
        Route("/uploads/{folder}/{name}", uploaded),
        Route("/_simulator/uploads", kept),
        Route("/_simulator/uploads/expire", expire, methods=["POST"]),
    ]


def _media(state: SimulatorState, sicknesses: Sicknesses, keeper: Keeper) -> Callable[[Request], Awaitable[Response]]:
    def answer(request: Request) -> Response:
        task = state.named(request.path_params["task_id"])
        if "authorization" in request.headers or "api-key" in request.headers:
            return _store_error(400, "InvalidRequest: only one auth mechanism is allowed")
        number, _, _extension = request.path_params["name"].partition(".")
        numbers = {str(at): at for at in range(1, len(task.outputs) + 1)} if task else {}
        if task is None or number not in numbers or not request.url.path.endswith(task.path(numbers[number])):
            return _store_error(404, "NoSuchKey")
        output = task.outputs[numbers[number] - 1]
        link = output.signatures.get(request.query_params.get("X-Sim-Signature", ""))
        clip = output.clip
        if link is None or clip is None:
            return _store_error(403, "SignatureDoesNotMatch")
        if link.has_ended or output.gone:
            return _store_error(410, "Request has expired")
        fault = None if request.method == "HEAD" else state.faults.first(DOWNLOAD_KINDS)
        if fault == "media.dropped":
            return Dropped()

        def complete() -> None:
            output.downloads += 1
            state.touched.add(task.order.name.lower())
            keeper.keep()

        return ClipAnswer(clip, fault, complete)

    async def endpoint(request: Request) -> tuple[str, Response]:
        return "media", answer(request)

    async def counted(request: Request) -> Response:
        task = state.tasks.get(request.path_params["task_id"].lower())
        answered = await sicknesses.answer(task.order.provider if task else "unknown", "media", endpoint, request)
        keeper.keep()
        return answered

    return counted


def _store_error(status: int, text: str) -> Response:
    return PlainTextResponse(text, status_code=status)


class _Server(uvicorn.Server):
    """Prints a line once it listens, and ends normally on a signal."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"simulator ready on http://{self.config.host}:{port}", flush=True)  # noqa: T201 - who starts it waits for this line

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._cut_connections)
        await super().shutdown(sockets)

    def _cut_connections(self) -> None:
        for connection in list(self.server_state.connections):
            cast("Any", connection).transport.abort()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        self.force_exit = self.should_exit
        self.should_exit = True


def _protocol(**options: Any) -> asyncio.Protocol:
    """Uvicorn's own protocol, which also gives the application the transport of the connection."""
    protocol = cast("Any", AutoHTTPProtocol)(**options)
    inner = protocol.app

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[TRANSPORT] = protocol.transport
        await inner(scope, receive, send)

    protocol.app = app
    return protocol


def serve(port: int, settings: Settings, *, host: str = "127.0.0.1") -> None:
    """Serves until SIGTERM or SIGINT, then returns within two seconds, whatever connections are open.

    Prints one line, `simulator ready on http://HOST:PORT`, as soon as it accepts connections. Port 0 picks a free one.

    Raises:
        ValueError: the port is not available.
    """
    config = uvicorn.Config(
        create_app(settings),
        host=host,
        port=port,
        http=cast("type[asyncio.Protocol]", _protocol),
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
    )
    with socket.socket() as probe:
        # Asked before uvicorn does, which ends the process with a page of its log.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(f"port {port} cannot be used: {error.strerror}") from None
    _Server(config).run()
