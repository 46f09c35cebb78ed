"""Leases of pooled tokens: taken, kept alive while somebody works, known to be lost in time, and fenced."""

from __future__ import annotations

import datetime
import logging
import math
import threading
import time
import uuid
from typing import Final

import grpc
from google.protobuf import duration_pb2

from tokenauthority.v1 import leases_pb2, token_pb2, token_service_pb2_grpc

_LOG: Final = logging.getLogger("token_authority")
_PAUSE_SECONDS: Final = 0.2

#: Codes after which a lease will never be ours again; after others its time decides.
_OVER: Final = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


class LeaseLost(Exception):
    """The lease is not ours any more, or may not be: whatever it protects must be left alone."""


class FenceStale(Exception):
    """A newer lease of the token was seen here: whoever comes with this fence is too late."""


class Worker:
    """Takes leases with a credential that has the permission `lease`.

    `deadline` bounds each call, in seconds. `request_id` makes attempts to acquire safe to repeat.
    """

    def __init__(self, channel: grpc.Channel, credential: str, deadline: float = 5.0):
        self._authority = token_service_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = (("authorization", f"Bearer {credential}"),)
        self._deadline = deadline

    def acquire(
        self,
        pool: str,
        *,
        namespace: str = "",
        holder: str = "",
        lease_duration: datetime.timedelta | None = None,
        wait: datetime.timedelta | None = None,
    ) -> HeldLease:
        """Leases a token of a pool, and keeps it alive from now on; use it in a `with`.

        Raises grpc.RpcError where none is to be had: RESOURCE_EXHAUSTED after `wait`.
        """
        request = leases_pb2.AcquireRequest(
            namespace=namespace, pool=pool, holder=holder, lease_duration=_duration(lease_duration),
            wait=_duration(wait), request_id=str(uuid.uuid4()),
        )
        timeout = self._deadline + (wait.total_seconds() if wait else 0.0)
        acquired = self._authority.Acquire(request, timeout=timeout, metadata=self._metadata)
        return HeldLease(self, acquired)

    def beat(self, lease_id: str, left: float = math.inf) -> tuple[float, float]:
        """Keeps a lease alive that has `left` seconds; answers when it is due again, and when it will
        be over, by this machine's monotonic clock. Counted from before the call, it is never over
        earlier."""
        begun = time.monotonic()
        request = leases_pb2.KeepAliveRequest(lease_id=lease_id)
        timeout = min(self._deadline, left)
        kept = self._authority.KeepAlive(request, timeout=timeout, metadata=self._metadata)
        third = kept.next_beat_after.ToNanoseconds() / 1e9
        return begun + third, begun + 3 * third

    def release(self, lease_id: str) -> None:
        """Gives the token back."""
        request = leases_pb2.ReleaseRequest(lease_id=lease_id)
        self._authority.Release(request, timeout=self._deadline, metadata=self._metadata)


class HeldLease:
    """The exclusive use of one token. Ask `check` before each step that needs it."""

    def __init__(self, worker: Worker, acquired: leases_pb2.AcquireResponse):
        self.token: token_pb2.Token = acquired.token
        #: Valid for exactly this lease.
        self.secret: str = acquired.secret
        #: Greater than that of every earlier lease of the token: send it along with each write.
        self.fence: int = acquired.lease.fence
        #: Set as soon as the lease is known to be lost.
        self.lost = threading.Event()
        self._worker = worker
        self._lease_id = acquired.lease.lease_id
        self._done = threading.Event()
        # How long the answer was under way nobody knows; this beat tells how long the lease lasts.
        try:
            self._due, self._over = worker.beat(self._lease_id)
        except grpc.RpcError:
            self.release()
            raise
        threading.Thread(target=self._keep, name="token-authority-beats", daemon=True).start()

    def __enter__(self) -> HeldLease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def check(self) -> int:
        """The fence, as long as the lease is ours for sure; else raises LeaseLost."""
        if self.lost.is_set() or self._done.is_set() or time.monotonic() >= self._over:
            raise LeaseLost(f"the lease of {self.token.token_id} is lost")
        return self.fence

    def release(self) -> None:
        """Ends the lease; where the authority does not answer, its time does."""
        self._done.set()
        try:
            self._worker.release(self._lease_id)
        except grpc.RpcError as error:
            _LOG.warning("a lease was not released: %s", error.code())

    def _keep(self) -> None:
        while not self._done.wait(max(0.0, min(self._due, self._over) - time.monotonic())):
            left = self._over - time.monotonic()
            if left <= 0:
                break
            try:
                self._due, self._over = self._worker.beat(self._lease_id, left)
            except grpc.RpcError as error:
                if self._done.is_set():
                    return
                _LOG.warning("a beat failed: %s", error.code())
                if error.code() in _OVER:
                    break
                self._due = time.monotonic() + _PAUSE_SECONDS
        else:
            return
        self.lost.set()


class Fence:
    """What a protected resource keeps of each token: the greatest fence that it has seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._greatest: dict[str, int] = {}

    def admit(self, token_id: str, fence: int) -> None:
        """Raises FenceStale where a greater fence of the token came before."""
        with self._lock:
            greatest = self._greatest.get(token_id, 0)
            if fence < greatest:
                raise FenceStale(f"fence {fence} of {token_id} is older than {greatest}")
            self._greatest[token_id] = fence


def _duration(span: datetime.timedelta | None) -> duration_pb2.Duration | None:
    if span is None:
        return None
    duration = duration_pb2.Duration()
    duration.FromTimedelta(span)
    return duration
