"""What needs no server: keys, addresses, the bounds of the cache, and events that overtake answers."""

from __future__ import annotations

import unittest

import grpc
from google.protobuf import duration_pb2

from token_authority import refusal
from token_authority.cache import AnswerCache
from token_authority.question import client_ip, key_of
from tokenauthority.v1 import token_pb2, validation_pb2


def _answer(token_id: str, ttl: int = 10) -> validation_pb2.ValidateResponse:
    return validation_pb2.ValidateResponse(
        valid=True, verdict=validation_pb2.VERDICT_VALID, token=token_pb2.Token(token_id=token_id),
        cache_ttl=duration_pb2.Duration(seconds=ttl),
    )


class Parts(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.cache = AnswerCache(2, now=lambda: self.now)

    def keep(self, key: bytes, token_id: str, ttl: int = 10) -> None:
        self.cache.keep(key, _answer(token_id, ttl), self.cache.asking())

    def test_the_cache_is_bounded_and_forgets_what_was_not_asked_for_longest(self) -> None:
        self.keep(b"1", "a")
        self.keep(b"2", "b")
        self.assertTrue(self.cache.get(b"1"))
        self.keep(b"3", "c")
        self.assertEqual(len(self.cache), 2)
        self.assertFalse(self.cache.get(b"2"))

    def test_no_answer_is_repeated_once_its_time_is_over(self) -> None:
        asked = self.cache.asking()
        self.now = 9.0
        self.cache.keep(b"1", _answer("a"), asked)
        self.now = 9.999
        self.assertTrue(self.cache.get(b"1"))
        self.now = 10.0
        self.assertFalse(self.cache.get(b"1"))

    def test_an_answer_without_a_ttl_or_that_refuses_is_not_kept(self) -> None:
        self.keep(b"1", "a", ttl=0)
        refused = _answer("a")
        refused.verdict, refused.valid = validation_pb2.VERDICT_REVOKED, False
        self.cache.keep(b"2", refused, self.cache.asking())
        self.assertEqual(len(self.cache), 0)

    def test_an_answer_that_an_event_overtook_is_not_kept(self) -> None:
        asked = self.cache.asking()
        self.cache.drop("a")
        self.cache.keep(b"1", _answer("a"), asked)
        self.assertFalse(self.cache.get(b"1"))

    def test_an_event_drops_all_answers_about_its_token_and_no_other(self) -> None:
        self.keep(b"1", "a")
        self.keep(b"2", "b")
        self.cache.drop("a")
        self.assertFalse(self.cache.get(b"1"))
        self.assertTrue(self.cache.get(b"2"))

    def test_whatever_is_judged_makes_another_key(self) -> None:
        asked = dict(secret="s", namespace="n", owner="o", method="m", path="p", client_ip="c")
        questions = [dict(asked, required_scopes=scopes) for scopes in ([], ["x"], ["x", "y"], ["xy"])]
        questions += [dict(asked, **{field: "other"}) for field in asked]
        questions += [dict(asked, secret="", namespace="sn")]
        keys = {key_of(validation_pb2.ValidateRequest(**each)) for each in questions}
        self.assertEqual(len(keys), len(questions))

    def test_an_address_is_read_from_what_grpc_calls_a_peer(self) -> None:
        for peer, address in (
            ("ipv4:192.0.2.1:80", "192.0.2.1"), ("ipv6:%5B2001:db8::1%5D:80", "2001:db8::1"),
            ("ipv6:[fe80::1%25eth0]:80", "fe80::1"), ("unix:/run/s.sock", ""), ("odd", ""),
        ):
            self.assertEqual(client_ip(peer), address)

    def test_a_verdict_that_is_yet_to_come_refuses(self) -> None:
        answer = validation_pb2.ValidateResponse(valid=True, verdict=99)  # type: ignore[arg-type]
        refused = refusal.of_answer(answer)
        assert refused is not None
        self.assertEqual(refused.code, grpc.StatusCode.PERMISSION_DENIED)

    def test_a_limit_that_no_use_will_ever_pass_ends_the_attempts(self) -> None:
        answer = validation_pb2.ValidateResponse(verdict=validation_pb2.VERDICT_RATE_LIMITED)
        refused = refusal.of_answer(answer)
        assert refused is not None
        self.assertEqual(dict(refused.trailing_metadata())["grpc-retry-pushback-ms"], "-1")


if __name__ == "__main__":
    unittest.main()
