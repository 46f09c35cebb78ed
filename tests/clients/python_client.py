"""Uses the server as a Python user would: stubs from our protos, and the stock gRPC packages."""

from __future__ import annotations

import importlib
import os
import pathlib
import sys
import tempfile
import time
import unittest

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from grpc_tools import protoc

import servers

SERVICE = "tokenauthority.v1.TokenService"
MANAGEMENT = f"{SERVICE}.management"
CALL_SECONDS_MAX = 20
OVERSIZED_BYTES = 10 * 1000 * 1000
UNKNOWN_TOKEN_ID = "0" * 22


def generate_stubs(into: str) -> None:
    """Compiles proto/ with the stock compiler, and makes the result importable."""
    proto = servers.ROOT / "proto"
    files = sorted(str(path) for path in proto.rglob("*.proto"))
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    command = ["protoc", f"-I{proto}", f"-I{well_known}"]
    command += [f"--python_out={into}", f"--grpc_python_out={into}", *files]
    if protoc.main(command) != 0:
        raise RuntimeError("protoc does not accept our protos")
    sys.path.insert(0, into)


def import_stubs():
    """The generated modules: service stubs, messages of tokens, messages of validation."""
    names = ("token_service_pb2_grpc", "tokens_pb2", "validation_pb2", "token_pb2")
    return [importlib.import_module(f"tokenauthority.v1.{name}") for name in names]


class OnAStore:
    """The tests, for each store; `store` is set by the classes below."""

    store: str

    @classmethod
    def setUpClass(cls):
        cls.serving = servers.serving(cls.store)
        cls.server = cls.serving.__enter__()
        cls.addClassCleanup(cls.serving.__exit__, None, None, None)
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(cls.channel.close)
        cls.stub = token_service.TokenServiceStub(cls.channel)
        cls.health = health_pb2_grpc.HealthStub(cls.channel)
        wait_until_serving(cls.health, cls.server)

    def call(self, method: str, request, credential: str | None = ""):
        """Calls with the root credential, with another, or with None."""
        credential = self.server.credential if credential == "" else credential
        metadata = [("authorization", f"Bearer {credential}")] if credential else []
        rpc = getattr(self.stub, method)
        return rpc(request, metadata=metadata, timeout=CALL_SECONDS_MAX)

    def refused(self, method: str, request, credential: str | None = "") -> grpc.RpcError:
        with self.assertRaises(grpc.RpcError) as caught:
            self.call(method, request, credential)
        return caught.exception

    def validate(self, secret: str, **asked):
        return self.call("Validate", validation.ValidateRequest(secret=secret, **asked))

    def verdict(self, secret: str, **asked) -> str:
        answer = self.validate(secret, **asked)
        name = validation.Verdict.Name(answer.verdict)
        self.assertEqual(answer.valid, name == "VERDICT_VALID")
        return name

    def test_reflection_v1alpha_lists_the_services(self):
        asked = reflection_pb2.ServerReflectionRequest(list_services="*")
        stub = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        answer = next(stub.ServerReflectionInfo(iter([asked]), timeout=CALL_SECONDS_MAX))
        listed = {service.name for service in answer.list_services_response.service}
        self.assertLessEqual({SERVICE, "grpc.health.v1.Health"}, listed)

    def test_reflection_v1alpha_describes_error_details(self):
        stub = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        for symbol in (SERVICE, "google.rpc.ErrorInfo", "google.rpc.BadRequest"):
            asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
            answer = next(stub.ServerReflectionInfo(iter([asked]), timeout=CALL_SECONDS_MAX))
            self.assertTrue(answer.file_descriptor_response.file_descriptor_proto, symbol)

    def test_health_is_known_by_each_name(self):
        for name in ("", SERVICE, MANAGEMENT):
            asked = health_pb2.HealthCheckRequest(service=name)
            answer = self.health.Check(asked, timeout=CALL_SECONDS_MAX)
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING, name)

    def test_a_token_lives_and_ends(self):
        created = self.call("Create", tokens.CreateRequest(
            name="ci", owner="team-a", scopes=["orders:*"], labels={"env": "test"},
            ttl=duration_pb2.Duration(seconds=3600),
        ))
        secret, token_id = created.secret, created.token.token_id
        self.assertEqual(len(token_id), 22)
        self.assertIn(token_id, secret)
        self.assertEqual(created.token.state, token.STATE_ACTIVE)
        self.assertEqual(created.token.namespace, "default")

        answer = self.validate(secret, required_scopes=["orders:read"])
        self.assertEqual(answer.verdict, validation.VERDICT_VALID)
        self.assertTrue(answer.valid)
        self.assertEqual(answer.token.token_id, token_id)
        self.assertEqual(answer.token.owner, "team-a")
        self.assertEqual(answer.secret_version, 1)
        denied = self.verdict(secret, required_scopes=["orders:read", "refunds"])
        self.assertEqual(denied, "VERDICT_SCOPE_DENIED")

        listed = self.call("List", tokens.ListRequest(owner="team-a", labels={"env": "test"}))
        self.assertEqual([each.token_id for each in listed.tokens], [token_id])
        self.assertEqual(listed.next_page_token, "")
        got = self.call("Get", tokens.GetRequest(token_id=token_id)).token
        self.assertEqual((got.name, got.state), ("ci", token.STATE_ACTIVE))
        lifetime = got.expire_time.ToMilliseconds() - got.create_time.ToMilliseconds()
        self.assertAlmostEqual(lifetime, 3600 * 1000, delta=1)
        self.assertNotIn(secret, str(got))

        revocation = tokens.RevokeRequest(token_id=token_id, reason="leaked")
        revoked = self.call("Revoke", revocation)
        self.assertTrue(revoked.HasField("revoke_time"))
        self.assertEqual(self.call("Revoke", revocation), revoked)
        self.assertEqual(self.verdict(secret), "VERDICT_REVOKED")

        deletion = tokens.DeleteRequest(token_id=token_id)
        self.call("Delete", deletion)
        self.assertEqual(self.verdict(secret), "VERDICT_NOT_FOUND")
        self.assertEqual(self.refused("Delete", deletion).code(), grpc.StatusCode.NOT_FOUND)

    def test_rubbish_is_malformed(self):
        self.assertEqual(self.verdict("rubbish"), "VERDICT_MALFORMED")

    def test_an_invalid_request_names_all_violations(self):
        error = self.refused("Create", tokens.CreateRequest(
            namespace="Not Valid", scopes=["fine", "has space"], allowed_cidrs=["nowhere"],
        ))
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        bad = detail(error, error_details_pb2.BadRequest)
        fields = {violation.field for violation in bad.field_violations}
        for field in ("namespace", "scopes", "allowed_cidrs"):
            self.assertTrue(any(each.startswith(field) for each in fields), f"{field}: {fields}")
        self.assertTrue(all(violation.description for violation in bad.field_violations))
        self.assert_reason(error, "ERROR_REASON_INVALID_REQUEST")

    def test_an_unknown_token_is_not_found(self):
        error = self.refused("Get", tokens.GetRequest(token_id=UNKNOWN_TOKEN_ID))
        self.assertEqual(error.code(), grpc.StatusCode.NOT_FOUND)
        self.assert_reason(error, "ERROR_REASON_TOKEN_NOT_FOUND")

    def test_nobody_is_served_without_a_credential(self):
        request = tokens.ListRequest()
        for credential in (None, "no-such-credential"):
            error = self.refused("List", request, credential)
            self.assertEqual(error.code(), grpc.StatusCode.UNAUTHENTICATED)
            self.assert_reason(error, "ERROR_REASON_CREDENTIAL_INVALID")

    def test_a_token_without_permissions_may_not_manage(self):
        secret = self.call("Create", tokens.CreateRequest(name="plain")).secret
        error = self.refused("Create", tokens.CreateRequest(), secret)
        self.assertEqual(error.code(), grpc.StatusCode.PERMISSION_DENIED)
        self.assert_reason(error, "ERROR_REASON_PERMISSION_MISSING")

    def test_an_oversized_message_is_refused_and_the_server_goes_on(self):
        request = validation.ValidateRequest(secret="x" * OVERSIZED_BYTES)
        error = self.refused("Validate", request)
        self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(self.verdict("rubbish"), "VERDICT_MALFORMED")

    def test_sigterm_ends_the_server_with_0_even_with_a_client_connected(self):
        with servers.serving(self.store) as server:
            with grpc.insecure_channel(server.address) as channel:
                wait_until_serving(health_pb2_grpc.HealthStub(channel), server)
                self.assertEqual(server.stop(), 0)

    def assert_reason(self, error: grpc.RpcError, reason: str):
        info = detail(error, error_details_pb2.ErrorInfo)
        self.assertEqual((info.domain, info.reason), ("tokenauthority", reason))


class OnSqlite(OnAStore, unittest.TestCase):
    store = "sqlite"


class OnRedis(OnAStore, unittest.TestCase):
    store = "redis"


def detail(error: grpc.RpcError, kind):
    """The detail of that kind which the error carries in grpc-status-details-bin."""
    status = rpc_status.from_call(error)
    if status is None:
        raise AssertionError(f"no details: {error}")
    found: list[any_pb2.Any] = [each for each in status.details if each.Is(kind.DESCRIPTOR)]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} of {kind.DESCRIPTOR.full_name}: {status}")
    unpacked = kind()
    found[0].Unpack(unpacked)
    return unpacked


def wait_until_serving(health, server: servers.Server) -> None:
    """Asks for the server's health until it is SERVING."""
    deadline = time.monotonic() + servers.START_SECONDS_MAX
    while True:
        try:
            answer = health.Check(
                health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS_MAX, wait_for_ready=True
            )
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            told = str(answer)
        except grpc.RpcError as error:
            told = str(error)
        if time.monotonic() > deadline:
            log = server.log.read_text(errors="replace")
            raise RuntimeError(f"never SERVING: {told}; the server's log:\n{log}")
        time.sleep(0.05)


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    servers.end_on_sigterm()
    with tempfile.TemporaryDirectory() as stubs:
        generate_stubs(stubs)
        token_service, tokens, validation, token = import_stubs()
        unittest.main(verbosity=2)
