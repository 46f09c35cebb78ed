"""Answers that the authority allowed to be repeated: bounded, timed, and dropped with their token."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from tokenauthority.v1 import validation_pb2


class _Kept(NamedTuple):
    answer: validation_pb2.ValidateResponse
    until: float


class AnswerCache:
    """The answers to the latest questions. It may be used by several threads at once.

    Only valid answers with a `cache_ttl` are kept, and none is repeated beyond that, counted from
    when it was asked for. Each event of a token drops the answers about it. While no events come,
    since the Watch broke, answers still end with their `cache_ttl`.
    """

    def __init__(self, entries_max: int, now: Callable[[], float] = time.monotonic):
        self._entries_max = entries_max
        self._now = now
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[bytes, _Kept] = collections.OrderedDict()
        self._by_token: dict[str, set[bytes]] = {}
        self._events = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def get(self, key: bytes) -> validation_pb2.ValidateResponse | None:
        """The answer to a question, as long as it may be repeated."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            if self._now() >= kept.until:
                self._forget(key)
                return None
            self._kept.move_to_end(key)
            return kept.answer

    def asking(self) -> tuple[float, int]:
        """To be called before a question is asked, and handed to `keep` with its answer."""
        with self._lock:
            return self._now(), self._events

    def keep(
        self, key: bytes, answer: validation_pb2.ValidateResponse, asked: tuple[float, int]
    ) -> None:
        """Keeps an answer, if it may be kept, and nothing was told since it was asked for: an event
        that overtakes the answer it makes void would drop nothing."""
        at, events = asked
        ttl = answer.cache_ttl.ToNanoseconds() / 1e9
        valid = answer.valid and answer.verdict == validation_pb2.VERDICT_VALID
        if not valid or ttl <= 0 or self._entries_max == 0:
            return
        with self._lock:
            if events != self._events:
                return
            self._forget(key)
            while len(self._kept) >= self._entries_max:
                self._forget(next(iter(self._kept)))
            self._kept[key] = _Kept(answer, at + ttl)
            self._by_token.setdefault(answer.token.token_id, set()).add(key)

    def drop(self, token_id: str) -> None:
        """Forgets what was answered about a token, of which something was told."""
        with self._lock:
            self._events += 1
            for key in list(self._by_token.get(token_id, ())):
                self._forget(key)

    def clear(self) -> None:
        """Forgets everything, since events may have been missed."""
        with self._lock:
            self._events += 1
            self._kept.clear()
            self._by_token.clear()

    def _forget(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        token_id = kept.answer.token.token_id
        keys = self._by_token[token_id]
        keys.discard(key)
        if not keys:
            del self._by_token[token_id]
