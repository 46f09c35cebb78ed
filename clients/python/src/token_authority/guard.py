"""Guards a gRPC server of threads: each call is judged by the authority before its handler runs."""

from __future__ import annotations

import logging
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import grpc

from tokenauthority.v1 import events_pb2, token_service_pb2_grpc, validation_pb2

from .cache import AnswerCache
from .policy import Policy
from .question import Caller, ask_about, key_of
from .refusal import Refusal, of_answer, of_error

LOG: Final = logging.getLogger("token_authority")

PAUSE_SECONDS_MIN: Final = 0.1
PAUSE_SECONDS_MAX: Final = 5.0

_callers: weakref.WeakKeyDictionary[grpc.ServicerContext, Caller] = weakref.WeakKeyDictionary()


def caller(context: grpc.ServicerContext) -> Caller:
    """Who makes the call of `context`; LookupError for a call that no guard let through."""
    return _callers[context]


class Guard(grpc.ServerInterceptor):  # type: ignore[misc]
    """An interceptor that lets through what the authority calls valid, and nothing else.

    `credential` needs the permission `validate`, and `read` for the events that drop cached answers.
    Close it when the server has stopped; the channel stays the caller's.
    """

    def __init__(self, channel: grpc.Channel, credential: str, policy: Policy | None = None):
        self._policy = policy or Policy()
        self._metadata = (("authorization", f"Bearer {credential}"),)
        self._authority = token_service_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]
        self._cache = AnswerCache(self._policy.cache_entries)
        self._closed = threading.Event()
        self._events: Any = None
        #: Whether events are being told, so that whatever happens to a token drops its answers.
        self.watching = False
        if self._policy.cache_entries:
            threading.Thread(target=self._watch, name="token-authority-watch", daemon=True).start()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the Watch."""
        self._closed.set()
        if self._events is not None:
            self._events.cancel()

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """Puts the judgement before the handler of a call."""
        handler = continuation(details)
        if handler is None or details.method in self._policy.unguarded:
            return handler

        def before(behavior: Callable[..., Any]) -> Callable[..., Any]:
            def judged(request: Any, context: grpc.ServicerContext) -> Any:
                _callers[context] = self._admit(details, context)
                return behavior(request, context)

            return judged

        return rebuilt(handler, before)

    def _admit(self, details: Any, context: grpc.ServicerContext) -> Caller:
        metadata = details.invocation_metadata
        question = ask_about(details.method, metadata, context.peer(), self._policy)
        if isinstance(question, Refusal):
            _abort(context, question)
        answer = self._judge(question, context.time_remaining())
        if isinstance(answer, Refusal):
            _abort(context, answer)
        return Caller(answer.token, answer.validation_id)

    def _judge(
        self, question: validation_pb2.ValidateRequest, remaining: float | None
    ) -> validation_pb2.ValidateResponse | Refusal:
        key = key_of(question)
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        asked = self._cache.asking()
        deadline = self._policy.deadline
        timeout = deadline if remaining is None else min(deadline, remaining)
        try:
            answer = self._authority.Validate(question, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            LOG.warning("a call was not judged: %s", error.code())
            return of_error(error)
        refusal = of_answer(answer)
        if refusal is None:
            self._cache.keep(key, answer, asked)
        return refusal or answer

    def _watch(self) -> None:
        """Drops cached answers of tokens that something happens to; begins again where it broke off."""
        cursor, pauses = "", pauses_from_short_to_long()
        while not self._closed.is_set():
            try:
                request = events_pb2.WatchRequest(namespace=self._policy.namespace, cursor=cursor)
                events = self._authority.Watch(request, metadata=self._metadata)
                self._events = events
                if self._closed.is_set():
                    events.cancel()
                begun = dict(events.initial_metadata()).get("watch-cursor", "")
                if begun and not cursor:
                    # Of what happened before, nothing is told.
                    self._cache.clear()
                    cursor = begun
                self.watching = True
                for event in events:
                    pauses = pauses_from_short_to_long()
                    cursor = event.cursor
                    if event.HasField("token"):
                        self._cache.drop(event.token.token_id)
            except grpc.RpcError as error:
                if self._closed.is_set():
                    return
                LOG.warning("the watch of events broke: %s", error.code())
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    cursor = ""
                    self._cache.clear()
            self.watching = False
            self._closed.wait(next(pauses))


def rebuilt(
    handler: grpc.RpcMethodHandler, before: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> grpc.RpcMethodHandler:
    """A handler of the same kind, whose behavior is what `before` makes of it."""
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    behavior = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary
        or handler.stream_stream
    )
    return kinds[handler.request_streaming, handler.response_streaming](
        before(behavior), handler.request_deserializer, handler.response_serializer
    )


def pauses_from_short_to_long() -> Iterator[float]:
    """Seconds to wait before the next attempts, each up to a fifth more or less."""
    pause = PAUSE_SECONDS_MIN
    while True:
        yield pause * random.uniform(0.8, 1.2)
        pause = min(pause * 2, PAUSE_SECONDS_MAX)


def _abort(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    context.set_trailing_metadata(refusal.trailing_metadata())
    context.abort(refusal.code, refusal.message)
    raise AssertionError("abort raises")
