"""The scenarios that every client passes against the real authority, for servers of threads and of asyncio."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import signal
import time
import unittest
from typing import Any

import grpc
from google.rpc import error_details_pb2

import token_authority
from token_authority import Policy
from tokenauthority.v1 import leases_pb2, token_pb2

from . import running
from .running import BRIEF_SECONDS, GET, SECONDS_MAX, TAIL, reason, until

#: A small part of how long the answer could have been repeated.
WATCH_SECONDS_MAX = 10
UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")


# Guards warn of what the scenarios do to them.
logging.getLogger("token_authority").setLevel(logging.CRITICAL)


class _Scenario(unittest.TestCase):
    kind = "worker"

    def __str__(self) -> str:
        return f"{self._testMethodName.removeprefix('test_')} ({self.kind})"

    def setUp(self) -> None:
        self.authority = self.enterContext(running.authority())

    def enterContext(self, context: Any) -> Any:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return stack.enter_context(context)


class OfGuards:
    """For either kind of server; the classes below say which."""

    serving: Any

    def guarded(self, address: str = "", **policy: Any) -> running.Shop:
        address = address or self.authority.address
        context = type(self).serving(address, self.authority.credential, Policy(**policy))
        return self.enterContext(context)

    def until_cached(self, shop: running.Shop, made: Any) -> float:
        """Asks until an answer stays, which the end of the token's creation may still drop; answers
        when it was there."""
        until(lambda: shop.guard.watching)
        who = made.token.token_id.encode()
        for _ in range(5):
            self.assertEqual(shop.get(made.secret), who)
            answered = time.monotonic()
            with _hanging(self.authority):
                if shop.get(made.secret) == who:
                    return answered
        self.fail("no answer is kept")

    def test_valid(self) -> None:
        scopes = {GET: ["orders:read"], TAIL: []}.get
        shop = self.guarded(scopes=scopes, unguarded=frozenset({"/shop.Orders/Open"}))
        made = self.authority.create(
            scopes=["orders:*"], allowed_cidrs=["127.0.0.1"], allowed_endpoints=["POST /shop.Orders/*"]
        )
        who = made.token.token_id.encode()
        self.assertEqual(shop.get(made.secret), who)
        self.assertEqual(shop.get(made.secret, TAIL), [who, who])
        key = [("x-api-key", made.secret)]
        self.assertEqual(shop.get(None, metadata=key), who)

        for nothing in ([], [("authorization", "Basic eDp5")], [*key, ("authorization", "bearer x")]):
            refused = reason(shop.get(None, metadata=nothing))
            missing = (grpc.StatusCode.UNAUTHENTICATED, "ERROR_REASON_CREDENTIAL_INVALID")
            self.assertEqual(refused, missing, nothing)
        for malformed in ("nonsense", "x" * 513):
            refused = reason(shop.get(malformed))
            self.assertEqual(refused, (grpc.StatusCode.UNAUTHENTICATED, "VERDICT_MALFORMED"))
        refused = reason(shop.get(made.secret, TAIL, metadata=[]))
        self.assertEqual(refused[0], grpc.StatusCode.UNAUTHENTICATED)
        elsewhere = self.authority.create(allowed_cidrs=["192.0.2.0/24"], scopes=["orders:*"])
        refused = reason(shop.get(elsewhere.secret))
        self.assertEqual(refused, (grpc.StatusCode.PERMISSION_DENIED, "VERDICT_ADDRESS_DENIED"))
        self.assertEqual(shop.runs, 3)

    def test_revoked(self) -> None:
        shop = self.guarded()
        made = self.authority.create()
        self.assertEqual(shop.get(made.secret), made.token.token_id.encode())
        self.authority.revoke(made)
        refused = reason(shop.get(made.secret))
        self.assertEqual(refused, (grpc.StatusCode.UNAUTHENTICATED, "VERDICT_REVOKED"))
        self.assertEqual(shop.runs, 1)

    def test_scope_denied(self) -> None:
        shop = self.guarded(scopes={GET: ["orders:write"]}.get)
        made = self.authority.create(scopes=["orders:read"])
        denied = (grpc.StatusCode.PERMISSION_DENIED, "VERDICT_SCOPE_DENIED")
        self.assertEqual(reason(shop.get(made.secret)), denied)
        # What the policy does not list, it gives to nobody.
        self.assertEqual(reason(shop.get(made.secret, TAIL)), denied)
        self.assertEqual(shop.runs, 0)

    def test_rate_limited(self) -> None:
        shop = self.guarded()
        made = self.authority.create(rate_limits=[token_pb2.RateLimit(requests=1)])
        self.assertEqual(shop.get(made.secret), made.token.token_id.encode())
        refused = shop.get(made.secret)
        limited = (grpc.StatusCode.RESOURCE_EXHAUSTED, "VERDICT_RATE_LIMITED")
        self.assertEqual(reason(refused), limited)
        hint = running.detail(refused, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() / 1e9
        self.assertTrue(50 < hint <= 60, hint)
        pushback = int(dict(refused.trailing_metadata())["grpc-retry-pushback-ms"])
        self.assertAlmostEqual(pushback, hint * 1000, delta=1)

    def test_authority_down(self) -> None:
        shop = self.guarded()
        made = self.authority.create()
        self.assertEqual(shop.get(made.secret), made.token.token_id.encode())
        self.authority.server.stop()
        self.assertEqual(reason(shop.get(made.secret)), UNAVAILABLE)
        self.assertEqual(shop.runs, 1)

        # Nor does a guard pass on that its own credential is refused.
        with running.authority() as other:
            context = type(self).serving(other.address, "not-a-credential", Policy())
            shop = self.enterContext(context)
            self.assertEqual(reason(shop.get(other.create().secret)), UNAVAILABLE)
            self.assertEqual(shop.runs, 0)

    def test_cached(self) -> None:
        shop = self.guarded(namespace="brief", scopes=lambda _: ["orders:read"])
        made = self.authority.create(namespace="brief", scopes=["orders:read"])
        fresh = self.authority.create(namespace="brief", scopes=["orders:read"])
        over = self.until_cached(shop, made) + BRIEF_SECONDS
        self.authority.server.stop()
        self.assertEqual(shop.get(made.secret), made.token.token_id.encode())
        # Neither another's secret nor another method is the same question.
        self.assertEqual(reason(shop.get(fresh.secret)), UNAVAILABLE)
        self.assertEqual(reason(shop.get(made.secret, TAIL)), UNAVAILABLE)
        asked = time.monotonic()
        while not isinstance(answer := shop.get(made.secret), grpc.RpcError):
            self.assertLess(asked, over)
            asked = time.monotonic()
        self.assertEqual(reason(answer), UNAVAILABLE)

    def test_dropped_on_watch(self) -> None:
        shop = self.guarded(namespace="long")
        made = self.authority.create(namespace="long")
        self.until_cached(shop, made)
        self.authority.revoke(made)
        refused = (grpc.StatusCode.UNAUTHENTICATED, "VERDICT_REVOKED")
        until(lambda: isinstance(shop.get(made.secret), grpc.RpcError), WATCH_SECONDS_MAX)
        self.assertEqual(reason(shop.get(made.secret)), refused)

    def test_deadline(self) -> None:
        shop = self.guarded(deadline=0.5)
        made = self.authority.create()
        self.assertEqual(shop.get(made.secret), made.token.token_id.encode())
        with _hanging(self.authority):
            begun = time.monotonic()
            self.assertEqual(reason(shop.get(made.secret)), UNAVAILABLE)
            self.assertLess(time.monotonic() - begun, 3)
            # No longer than the judged call may take.
            begun = time.monotonic()
            late = shop.get(made.secret, timeout=0.2)
            self.assertEqual(late.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            self.assertLess(time.monotonic() - begun, 0.5)
        self.assertEqual(shop.runs, 1)

    def test_retried(self) -> None:
        made = self.authority.create()
        with running.flaky(self.authority) as (address, attempts):
            with type(self).serving(
                address, self.authority.credential, Policy(deadline=60, cache_entries=0)
            ) as shop:
                who = made.token.token_id.encode()
                self.assertEqual(shop.get(made.secret, timeout=SECONDS_MAX), who)
        self.assertEqual([before for before, _ in attempts], ["0", "1"])
        # The deadline of the judged call is that of the question, too.
        self.assertTrue(all(0 < remaining < SECONDS_MAX + 1 for _, remaining in attempts), attempts)


class Threads(OfGuards, _Scenario):
    kind = "threads"
    serving = running.threaded


class Asyncio(OfGuards, _Scenario):
    kind = "asyncio"
    serving = running.asynchronous


class Leases(_Scenario):
    def test_lease_lost(self) -> None:
        self.authority.create(pool="seats")
        worker = token_authority.Worker(self.authority.channel, self.authority.credential)
        three = datetime.timedelta(seconds=3)
        fence = token_authority.Fence()

        # Kept alive beyond its first end.
        with worker.acquire("seats", holder="w1", lease_duration=three) as kept:
            ends = time.monotonic() + 4
            until(lambda: kept.check() > 0 and time.monotonic() > ends)
            fence.admit(kept.token.token_id, kept.check())

        # Taken by force: known with the next beat, long before its time.
        six = datetime.timedelta(seconds=6)
        with worker.acquire("seats", lease_duration=six) as first:
            self.assertGreater(first.fence, kept.fence)
            fence.admit(first.token.token_id, first.check())
            request = leases_pb2.ReleaseRequest(token_id=first.token.token_id, force=True)
            self.authority.call("Release", request)
            self.assertTrue(first.lost.wait(3.5))
            with self.assertRaises(token_authority.LeaseLost):
                first.check()

            wait = datetime.timedelta(seconds=10)
            with worker.acquire("seats", lease_duration=three, wait=wait) as second:
                self.assertGreater(second.fence, first.fence)
                fence.admit(second.token.token_id, second.check())
                # Who did not notice is too late.
                with self.assertRaises(token_authority.FenceStale):
                    fence.admit(first.token.token_id, first.fence)

                # Of an authority that says nothing, the lease's own time tells.
                begun = time.monotonic()
                with _hanging(self.authority):
                    self.assertRaises(token_authority.LeaseLost, lambda: until(
                        lambda: second.check() == 0
                    ))
                    self.assertLess(time.monotonic() - begun, 3.1)
                    self.assertTrue(second.lost.wait(2))


@contextlib.contextmanager
def _hanging(authority: running.Authority) -> Any:
    process = authority.server.process
    os.kill(process.pid, signal.SIGSTOP)
    try:
        # It has stopped when all its threads have.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
