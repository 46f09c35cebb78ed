"""What the scenarios run with: the real authority, guarded servers of both kinds, and what clients see."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

import token_authority
from token_authority import aio
from tokenauthority.v1 import token_service_pb2_grpc, tokens_pb2

# Starts the real server, as the repository's other Python tests do.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "clients"))
import servers  # noqa: E402

SECONDS_MAX = 20
GET = "/shop.Orders/Get"
TAIL = "/shop.Orders/Tail"

#: How long answers may be repeated in the namespace `brief`, and in `long`.
BRIEF_SECONDS = 3
LONG_SECONDS = 300
FLAGS = (
    "--set", f"namespaces.brief.cache_ttl={BRIEF_SECONDS}s",
    "--set", f"namespaces.long.cache_ttl={LONG_SECONDS}s",
)


class Authority:
    """The real server, and its management by the root credential."""

    def __init__(self, server: Any, channel: grpc.Channel):
        self.server = server
        self.address: str = server.address
        self.credential: str = server.credential
        self.channel = channel
        self.stub = token_service_pb2_grpc.TokenServiceStub(channel)

    def call(self, method: str, request: Any) -> Any:
        metadata = [("authorization", f"Bearer {self.credential}")]
        return getattr(self.stub, method)(request, metadata=metadata, timeout=SECONDS_MAX)

    def create(self, **asked: Any) -> Any:
        return self.call("Create", tokens_pb2.CreateRequest(**asked))

    def revoke(self, created: Any) -> None:
        self.call("Revoke", tokens_pb2.RevokeRequest(token_id=created.token.token_id))


@contextlib.contextmanager
def authority() -> Iterator[Authority]:
    with servers.serving("sqlite", flags=FLAGS) as server:
        with token_authority.connect(server.address) as channel:
            yield Authority(server, channel)


class Shop:
    """A guarded service, how often its handlers ran, and a client of it."""

    def __init__(self, address: str, guard: Any):
        self.runs = 0
        self.guard = guard
        self.channel = grpc.insecure_channel(address, [("grpc.enable_retries", 0)])

    def get(self, secret: str | None, method: str = GET, **options: Any) -> Any:
        """The answer of a call, or the RpcError."""
        metadata = [("authorization", f"Bearer {secret}")] if secret else []
        metadata = options.pop("metadata", metadata)
        options.setdefault("timeout", SECONDS_MAX)
        try:
            if method == TAIL:
                return list(self.channel.unary_stream(method)(b"", metadata=metadata, **options))
            return self.channel.unary_unary(method)(b"", metadata=metadata, **options)
        except grpc.RpcError as error:
            return error

    def handlers(self, who: Callable[[grpc.ServicerContext], str]) -> Any:
        def get(_request: bytes, context: grpc.ServicerContext) -> bytes:
            self.runs += 1
            return who(context).encode()

        def tail(_request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            self.runs += 1
            yield who(context).encode()
            yield who(context).encode()

        return _generic(
            grpc.unary_unary_rpc_method_handler(get), grpc.unary_stream_rpc_method_handler(tail)
        )

    def aio_handlers(self) -> Any:
        async def get(_request: bytes, _context: Any) -> bytes:
            self.runs += 1
            return aio.caller().token.token_id.encode()

        async def tail(_request: bytes, _context: Any) -> Any:
            self.runs += 1
            yield aio.caller().token.token_id.encode()
            yield aio.caller().token.token_id.encode()

        return _generic(
            grpc.unary_unary_rpc_method_handler(get), grpc.unary_stream_rpc_method_handler(tail)
        )


def _generic(get: Any, tail: Any) -> Any:
    return grpc.method_handlers_generic_handler("shop.Orders", {"Get": get, "Tail": tail})


@contextlib.contextmanager
def threaded(address: str, credential: str, policy: token_authority.Policy) -> Iterator[Shop]:
    """A guarded server of threads."""
    pool = concurrent.futures.ThreadPoolExecutor(4)
    with token_authority.connect(address) as channel:
        with token_authority.Guard(channel, credential, policy) as guard:
            server = grpc.server(pool, interceptors=[guard])
            shop = Shop(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", guard)
            who = lambda context: token_authority.caller(context).token.token_id  # noqa: E731
            server.add_generic_rpc_handlers((shop.handlers(who),))
            server.start()
            try:
                with shop.channel:
                    yield shop
            finally:
                server.stop(0).wait()
    pool.shutdown()


@functools.lru_cache(maxsize=None)
def _loop() -> asyncio.AbstractEventLoop:
    """The one event loop of all tests: grpcio's poller does not leave one for another in silence."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@contextlib.contextmanager
def asynchronous(address: str, credential: str, policy: token_authority.Policy) -> Iterator[Shop]:
    """A guarded server of asyncio."""
    begun: concurrent.futures.Future[Shop] = concurrent.futures.Future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with aio.connect(address) as channel, aio.Guard(channel, credential, policy) as guard:
            server = grpc.aio.server(interceptors=[guard])
            shop = Shop(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", guard)
            server.add_generic_rpc_handlers((shop.aio_handlers(),))
            await server.start()
            begun.set_result(shop)
            await stop.wait()
            await server.stop(0)

    serving = asyncio.run_coroutine_threadsafe(serve(), _loop())
    shop = begun.result(SECONDS_MAX)
    try:
        with shop.channel:
            yield shop
    finally:
        _loop().call_soon_threadsafe(stop.set)
        serving.result(SECONDS_MAX)


@contextlib.contextmanager
def flaky(authority: Authority) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """An authority that is UNAVAILABLE for every first attempt, and passes on the next: its address, and of
    each attempt what it said of those before it, and how many seconds it had left."""
    attempts: list[tuple[str, float]] = []
    forward = authority.channel.unary_unary("/tokenauthority.v1.TokenService/Validate")

    def validate(request: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = dict(context.invocation_metadata())
        attempts.append((metadata.get("grpc-previous-rpc-attempts", "0"), context.time_remaining()))
        if attempts[-1][0] == "0":
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "20"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        credential = [("authorization", metadata["authorization"])]
        answer: bytes = forward(request, metadata=credential, timeout=SECONDS_MAX)
        return answer

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    handlers = {"Validate": grpc.unary_unary_rpc_method_handler(validate)}
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("tokenauthority.v1.TokenService", handlers),
    ))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", attempts
    finally:
        server.stop(0).wait()


def detail(error: grpc.RpcError, kind: Any) -> Any:
    """The detail of that type; None where the error has none."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
    for packed in status.details:
        unpacked = kind()
        if packed.Unpack(unpacked):
            return unpacked
    return None


def reason(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    info = detail(error, error_details_pb2.ErrorInfo)
    assert info is not None and info.domain == "tokenauthority", error
    return error.code(), info.reason


def until(met: Callable[[], bool], seconds: float = SECONDS_MAX) -> float:
    """Waits for a condition, and answers how long it took."""
    begun = time.monotonic()
    while not met():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begun
