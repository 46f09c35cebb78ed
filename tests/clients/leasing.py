"""Pools and leases, as a Python user uses them; a part of the Python client's tests."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import grpc
from google.rpc import error_details_pb2

import servers

SECONDS_MAX = 20


class _Messages:
    """A module that protoc generates, imported when it is used, which is after it was generated."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, message: str):
        return getattr(importlib.import_module(f"tokenauthority.v1.{self._name}"), message)


leases, tokens, validation = map(_Messages, ("leases_pb2", "tokens_pb2", "validation_pb2"))


class PoolsAndLeases:
    """The tests, for a class that can call and judge."""

    def fill(self, pool: str, count: int):
        template = tokens.CreateRequest(pool=pool)
        return self.call("BatchCreate", tokens.BatchCreateRequest(template=template, count=count))

    def standing(self, pool: str):
        listed = self.call("ListPools", leases.ListPoolsRequest()).pools
        [found] = [each for each in listed if each.pool == pool]
        return found.available, found.leased, found.unavailable

    def test_a_lease_has_a_secret_of_its_own_and_ends(self):
        self.assertEqual(len(self.fill("seats", 2).created), 2)
        held = self.call("Acquire", leases.AcquireRequest(pool="seats", holder="w1"))
        self.assertEqual(self.standing("seats"), (1, 1, 0))
        answer = self.validate(held.secret)
        self.assertEqual(answer.credential, validation.CREDENTIAL_LEASE)
        self.assertEqual(answer.token.lease.fence, held.lease.fence)
        kept = self.call("KeepAlive", leases.KeepAliveRequest(lease_id=held.lease.lease_id))
        self.assertEqual(kept.next_beat_after.ToTimedelta().total_seconds(), 20)
        release = leases.ReleaseRequest(lease_id=held.lease.lease_id)
        ended = self.call("Release", release).lease
        self.assertEqual(self.call("Release", release).lease, ended)
        self.assertEqual(self.verdict(held.secret), "VERDICT_LEASE_ENDED")
        error = self.refused("KeepAlive", leases.KeepAliveRequest(lease_id=held.lease.lease_id))
        self.assertEqual(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assert_reason(error, "ERROR_REASON_LEASE_OVER")

    def test_a_full_pool_says_when_to_try_again(self):
        self.fill("full", 1)
        self.call("Acquire", leases.AcquireRequest(pool="full"))
        error = self.refused("Acquire", leases.AcquireRequest(pool="full"))
        self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assert_reason(error, "ERROR_REASON_POOL_EXHAUSTED")
        delay = self.detail_of(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta()
        self.assertTrue(0 < delay.total_seconds() <= 60, delay)

    def test_one_stream_keeps_many_leases_alive(self):
        self.fill("streamed", 2)
        acquire = leases.AcquireRequest(pool="streamed")
        held = [self.call("Acquire", acquire).lease.lease_id for _ in range(2)]
        beats = [
            leases.KeepAliveStreamRequest(id=n, request=leases.KeepAliveRequest(lease_id=lease))
            for n, lease in enumerate([*held, "0" * 44])
        ]
        metadata = [("authorization", f"Bearer {self.server.credential}")]
        stream = self.stub.KeepAliveStream(
            iter(beats), metadata=metadata, timeout=SECONDS_MAX
        )
        answers = {answer.id: answer for answer in stream}
        self.assertEqual([answers[n].response.lease.lease_id for n in (0, 1)], held)
        self.assertEqual(answers[2].error.code, grpc.StatusCode.NOT_FOUND.value[0])

    def test_the_worker_of_the_readme_works_and_gives_its_token_back(self):
        made = self.fill("gpu", 1).created[0].token.token_id
        worker = servers.ROOT / "examples" / "worker.py"
        env = dict(
            os.environ, PYTHONPATH=sys.path[0], SERVER=self.server.address,
            TOKEN=self.server.credential,
        )
        ran = subprocess.run(
            [sys.executable, str(worker)], env=env, capture_output=True, text=True,
            timeout=SECONDS_MAX,
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        steps = ran.stdout.splitlines()
        self.assertEqual(len(steps), 3, ran.stdout)
        self.assertTrue(steps[2].startswith(f"step 2 with token {made}, fence "), ran.stdout)
        self.assertEqual(self.standing("gpu"), (1, 0, 0))
