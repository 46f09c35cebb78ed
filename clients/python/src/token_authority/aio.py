"""Guards a gRPC server of asyncio, as `token_authority.Guard` does one of threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from tokenauthority.v1 import events_pb2, token_service_pb2_grpc, validation_pb2

from .cache import AnswerCache
from .channel import options_for
from .guard import LOG, pauses_from_short_to_long, rebuilt
from .policy import Policy
from .question import Caller, ask_about, key_of
from .refusal import Refusal, of_answer, of_error

_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("token_authority_caller")


def caller() -> Caller:
    """Who makes the call that is being handled; LookupError where no guard let it through."""
    return _caller.get()


def connect(
    target: str, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """A channel to the authority at `target`, in plaintext unless `credentials` are given."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options_for(target))
    return grpc.aio.secure_channel(target, credentials, options_for(target))


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """An interceptor that lets through what the authority calls valid, and nothing else.

    To be made within the event loop of the server, and closed there when that has stopped.
    `credential` needs the permission `validate`, and `read` for the events that drop cached answers.
    """

    def __init__(self, channel: grpc.aio.Channel, credential: str, policy: Policy | None = None):
        self._policy = policy or Policy()
        self._metadata = (("authorization", f"Bearer {credential}"),)
        self._authority = token_service_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]
        self._cache = AnswerCache(self._policy.cache_entries)
        self._watch_task: asyncio.Task[None] | None = None
        #: Whether events are being told, so that whatever happens to a token drops its answers.
        self.watching = False
        if self._policy.cache_entries:
            self._watch_task = asyncio.get_running_loop().create_task(self._watch())

    async def __aenter__(self) -> Guard:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the Watch."""
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.gather(self._watch_task, return_exceptions=True)

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Puts the judgement before the handler of a call."""
        handler = await continuation(details)
        if handler is None or details.method in self._policy.unguarded:
            return handler

        def before(behavior: Callable[..., Any]) -> Callable[..., Any]:
            async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
                _caller.set(await self._admit(details, context))
                return await behavior(request, context)

            async def streamed(
                request: Any, context: grpc.aio.ServicerContext
            ) -> AsyncIterator[Any]:
                _caller.set(await self._admit(details, context))
                # It writes to the context itself, or yields what it answers.
                answers = behavior(request, context)
                if hasattr(answers, "__aiter__"):
                    async for answer in answers:
                        yield answer
                else:
                    await answers

            return streamed if handler.response_streaming else unary

        return rebuilt(handler, before)

    async def _admit(self, details: Any, context: grpc.aio.ServicerContext) -> Caller:
        metadata = details.invocation_metadata
        question = ask_about(details.method, metadata, context.peer(), self._policy)
        if isinstance(question, Refusal):
            await _abort(context, question)
        answer = await self._judge(question, context.time_remaining())
        if isinstance(answer, Refusal):
            await _abort(context, answer)
        return Caller(answer.token, answer.validation_id)

    async def _judge(
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
            answer = await self._authority.Validate(
                question, timeout=timeout, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            LOG.warning("a call was not judged: %s", error.code())
            return of_error(error)
        refusal = of_answer(answer)
        if refusal is None:
            self._cache.keep(key, answer, asked)
        return refusal or answer

    async def _watch(self) -> None:
        """Drops cached answers of tokens that something happens to; begins again where it broke off."""
        cursor, pauses = "", pauses_from_short_to_long()
        while True:
            try:
                request = events_pb2.WatchRequest(namespace=self._policy.namespace, cursor=cursor)
                events = self._authority.Watch(request, metadata=self._metadata)
                begun = dict(await events.initial_metadata()).get("watch-cursor", "")
                if begun and not cursor:
                    # Of what happened before, nothing is told.
                    self._cache.clear()
                    cursor = begun
                self.watching = True
                async for event in events:
                    pauses = pauses_from_short_to_long()
                    cursor = event.cursor
                    if event.HasField("token"):
                        self._cache.drop(event.token.token_id)
            except grpc.aio.AioRpcError as error:
                LOG.warning("the watch of events broke: %s", error.code())
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    cursor = ""
                    self._cache.clear()
            self.watching = False
            await asyncio.sleep(next(pauses))


async def _abort(context: grpc.aio.ServicerContext, refusal: Refusal) -> NoReturn:
    await context.abort(refusal.code, refusal.message, refusal.trailing_metadata())
    raise AssertionError("abort raises")
