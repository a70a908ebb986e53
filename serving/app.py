"""The feed API: an application that reads the latest state, answers with a feed, and writes nothing but logs."""

from __future__ import annotations

import gc
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from config import metrics
from config.log import configure
from config.settings import Settings, SettingsError
from serving.edge import Edge
from serving.gate import Bodies, Gate, Pulse
from serving.guard import Guard, needed
from serving.heart import Heart
from serving.lag import KafkaLogs, Lag
from serving.ops.watch import Watch
from serving.problems import Problem, install, problem_response
from serving.producer import KafkaProducer, Producer
from serving.routes import collect, feeds, health, notes, pages, pools, schema, users
from serving.service import Service
from serving.wire import bounded
from store.base import Store
from store.open import open_store

log = structlog.get_logger("serving")

ROUTERS = (feeds.router, collect.router, notes.router, pools.router, users.router, schema.router, health.router)
"""The busiest first: routes are tried in order."""

DESCRIPTION = """What a user does now changes what everybody sees a moment later.

Send events and notes, ask for feeds, read what was counted and why. Errors are `application/problem+json` (RFC 9457); every answer
carries `X-Request-Id`. With keys configured, `X-API-Key` is required; a key may send, ask or operate, by its roles. 503 with `Retry-After`
means: too much at once, or something we need is away; the same again is safe.
"""


def release() -> str:
    try:
        return version("upwell")
    except PackageNotFoundError:
        return "unknown"


def create_app(
    settings: Settings, store: Store | None = None, producer: Producer | None = None, wall: Callable[[], float] = time.time
) -> FastAPI:
    """The application. Store and producer are those of the settings unless given."""
    service = Service(settings, store or open_store(settings), producer or KafkaProducer(settings), wall)
    if producer is None:
        lag = Lag(settings, service.store, service.snapshot, KafkaLogs(settings.kafka), wall)
        service.background += [lag.run, Heart(settings.api.probe_s, service.producer, service.snapshot, lag.probed, wall).run]
    watch = Watch(service, release())
    if settings.api.ops_page:
        service.background.append(watch.run)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    metrics.BUILD.info({"version": release(), "part": "api"})
    app = FastAPI(
        title="Upwell",
        version=release(),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI's own pages fetch their scripts from elsewhere; ours is one of serving/routes/pages.py.
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0"},
    )
    app.state.service, app.state.watch = service, watch
    for router in ROUTERS:
        app.include_router(router)
    for wanted, router in ((settings.api.ops_page, pages.ops), (settings.api.demo_page, pages.demo)):
        if wanted:
            app.include_router(router)
    app.include_router(pages.web)
    if settings.api.keys:
        app.openapi = partial(keyed, app.openapi)  # type: ignore[method-assign]
    install(app)
    api = settings.api
    writes = Gate(api.writes_at_once, api.at_once_most)
    service.background.append(Pulse([service.reads, writes]).run)
    app.add_middleware(Front, routes=[Direct(route.path, route.endpoint) for route in feeds.router.routes if isinstance(route, APIRoute)])
    app.add_middleware(
        Edge,
        guard=Guard(api.named_keys()),
        reads=service.reads,
        writes=writes,
        bodies=Bodies(api.bodies_bytes),
        body_bytes=api.body_bytes,
        request_s=api.request_s,
        origins=api.origins,
    )
    return app


def keyed(document: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document of an API that asks for keys: it says so, and `/docs` has a place for one."""
    told = document()
    told.setdefault("components", {})["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    for path, methods in told["paths"].items():
        for method, route in methods.items():
            route["security"] = [] if needed(method.upper(), path) is None else [{"key": []}]
    return told


class Direct(Route):
    """A GET whose handler takes the request alone."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]]) -> None:
        super().__init__(path, endpoint, methods=["GET"], include_in_schema=False)
        self.methods = {"GET"}  # and not HEAD, which Starlette adds

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is not Match.NONE:
            found["route"] = self  # as FastAPI's does: requests are counted by it
        return match, found


class Front:
    """Answers what its routes stand for, before the routes of the same paths in the application: those stand for the documentation, and what
    FastAPI does on the way to them, for parameters, models and what is left open, would be an eighth of a feed."""

    def __init__(self, app: ASGIApp, routes: Sequence[Direct]) -> None:
        self.app, self.routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self.routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                try:
                    response: Response = await route.endpoint(Request(scope, receive))
                except Problem as problem:
                    response = problem_response(problem)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


def loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(uvicorn.Server):
    """Says on `/readyz` that it is stopping, from the signal on."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.stopping = True
        super().handle_exit(sig, frame)


def listening(host: str, port: int) -> socket.socket:
    """A socket that is bound there. Raises `SettingsError` when that cannot be."""
    if not 0 <= port < 65_536:  # getaddrinfo would take the rest of a division
        raise SettingsError(f"the API cannot listen on {host}:{port}: ports are 0 (a free one) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(
            f"the API cannot listen on {host}:{port}: {why}; api.host and api.port, or --host and --port, name another"
        ) from None
    return bound


def run(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Raises `SettingsError` for a public address without keys, and for one that cannot be had."""
    host, port = host or settings.api.host, settings.api.port if port is None else port
    if not settings.api.keys and not loopback(host):
        raise SettingsError(f"setting api.keys is empty, so the API binds to loopback only, not to {host}: set UPWELL_API__KEYS='[\"…\"]'")
    bound = listening(host, port)
    configure(settings.log)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=bounded(settings.api),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=max(1, int(settings.api.drain_s)),
    )
    # What lives as long as the process is no garbage: collections look at what requests leave behind, and at little of it at once, since all wait
    # meanwhile: a quarter of a ms for 2,000 objects, ten times as long for 20,000. Cycles are few: the older ones are looked at seldom.
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 200, 50)
    Server(config, app.state.service).run(sockets=[bound])
