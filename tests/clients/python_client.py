"""Uses the server as a Python user would: stubs from our protos, and the stock gRPC packages."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import grpc
from google.protobuf import any_pb2, duration_pb2, field_mask_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from grpc_tools import protoc

import leasing
import servers

SERVICE = "tokenauthority.v1.TokenService"
MANAGEMENT = f"{SERVICE}.management"
CALL_SECONDS_MAX = 20
CONNECTIONS_COME_OF_AGE_SECONDS = 3
OVERSIZED_BYTES = 10 * 1000 * 1000
UNKNOWN_TOKEN_ID = "0" * 22


def generate_stubs(into: str) -> None:
    """Compiles proto/ with the stock compiler, and makes the result importable."""
    proto = servers.ROOT / "proto"
    # Of google.rpc Python has a package of its own.
    files = sorted(str(path) for path in (proto / "tokenauthority").rglob("*.proto"))
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


class OnAStore(leasing.PoolsAndLeases):
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

    def update(self, changed, *paths: str, **asked):
        mask = field_mask_pb2.FieldMask(paths=paths)
        return self.call("Update", tokens.UpdateRequest(
            token=changed, update_mask=mask, **asked,
        )).token

    def test_a_token_is_changed_by_its_mask(self):
        created = self.call("Create", tokens.CreateRequest(name="before", owner="team-b")).token
        changed = token.Token(token_id=created.token_id, name="after", labels={"env": "prod"})
        # The well-known type reads the paths that JSON clients send, too.
        mask = field_mask_pb2.FieldMask()
        mask.FromJsonString("name,labels")
        updated = self.call("Update", tokens.UpdateRequest(token=changed, update_mask=mask)).token
        self.assertEqual((updated.name, updated.owner), ("after", "team-b"))
        self.assertEqual(dict(updated.labels), {"env": "prod"})
        self.assertGreater(updated.revision, created.revision)
        self.assertEqual(self.update(changed, "owner").owner, "")
        mask.FromJsonString("rateLimits,expireTime")
        self.assertEqual(list(mask.paths), ["rate_limits", "expire_time"])

        error = self.refused("Update", tokens.UpdateRequest(
            token=changed, update_mask=field_mask_pb2.FieldMask(paths=["name", "createTime"]),
        ))
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        violations = detail(error, error_details_pb2.BadRequest).field_violations
        self.assertEqual([each.field for each in violations], ["update_mask.paths[1]"])

    def test_a_lost_revision_is_aborted_and_says_which_came_before(self):
        created = self.call("Create", tokens.CreateRequest(name="first")).token
        changed = token.Token(token_id=created.token_id, name="second")
        updated = self.update(changed, "name", revision=created.revision)
        for method, request in (
            ("Update", tokens.UpdateRequest(
                token=changed, revision=created.revision,
                update_mask=field_mask_pb2.FieldMask(paths=["name"]),
            )),
            ("Rotate", tokens.RotateRequest(
                token_id=created.token_id, revision=created.revision,
            )),
        ):
            error = self.refused(method, request)
            self.assertEqual(error.code(), grpc.StatusCode.ABORTED, method)
            self.assert_reason(error, "ERROR_REASON_REVISION_MOVED")
            told = detail(error, error_details_pb2.ErrorInfo).metadata
            self.assertEqual(int(told["asked"]), created.revision)
            self.assertEqual(int(told["current"]), updated.revision)

    def test_a_secret_is_rotated_with_a_grace(self):
        created = self.call("Create", tokens.CreateRequest(name="rotated"))
        rotation = tokens.RotateRequest(
            token_id=created.token.token_id, grace_period=duration_pb2.Duration(seconds=3600),
            request_id="rotate-once",
        )
        rotated, again = self.call("Rotate", rotation), self.call("Rotate", rotation)
        self.assertEqual([each.version for each in again.token.secrets], [2, 1])
        self.assertNotEqual(rotated.secret, again.secret)
        for secret, version, credential in (
            (created.secret, 1, "CREDENTIAL_PREVIOUS"),
            (rotated.secret, 2, "CREDENTIAL_CURRENT"),
            (again.secret, 2, "CREDENTIAL_CURRENT"),
        ):
            answer = self.validate(secret)
            self.assertTrue(answer.valid)
            self.assertEqual(answer.secret_version, version)
            self.assertEqual(validation.Credential.Name(answer.credential), credential)
        cut = tokens.RotateRequest(token_id=created.token.token_id)
        last = self.call("Rotate", cut).secret
        self.assertEqual(self.verdict(again.secret), "VERDICT_SUPERSEDED")
        self.assertEqual(self.verdict(last), "VERDICT_VALID")
        error = self.refused("Rotate", rotation)
        self.assertEqual(error.code(), grpc.StatusCode.ALREADY_EXISTS)
        self.assert_reason(error, "ERROR_REASON_REQUEST_ID_USED")

    def test_a_revoked_token_is_neither_changed_nor_rotated(self):
        token_id = self.call("Create", tokens.CreateRequest(name="over")).token.token_id
        self.call("Revoke", tokens.RevokeRequest(token_id=token_id))
        for method, request in (
            ("Update", tokens.UpdateRequest(
                token=token.Token(token_id=token_id),
                update_mask=field_mask_pb2.FieldMask(paths=["name"]),
            )),
            ("Rotate", tokens.RotateRequest(token_id=token_id)),
            ("ResetLimits", tokens.ResetLimitsRequest(token_id=token_id)),
        ):
            error = self.refused(method, request)
            self.assertEqual(error.code(), grpc.StatusCode.FAILED_PRECONDITION, method)
            self.assert_reason(error, "ERROR_REASON_TOKEN_OVER")
            failure = detail(error, error_details_pb2.PreconditionFailure)
            [violation] = failure.violations
            self.assertEqual(violation.type, "ERROR_REASON_TOKEN_OVER")
            self.assertEqual(violation.subject, token_id)
            told = detail(error, error_details_pb2.ErrorInfo).metadata
            self.assertEqual(told["state"], "STATE_REVOKED")

    def test_limits_are_spent_shown_and_reset(self):
        day = duration_pb2.Duration(seconds=86400)
        created = self.call("Create", tokens.CreateRequest(
            name="limited", rate_limits=[token.RateLimit(requests=3, period=day)],
            quota=token.Quota(limit=5),
        ))
        secret, token_id = created.secret, created.token.token_id
        dear = self.validate(secret, cost=3)
        self.assertEqual((dear.rate_limits[0].remaining, dear.quota_remaining), (0, 2))
        self.assertFalse(dear.rate_limits[0].HasField("retry_after"))
        refused = self.validate(secret)
        self.assertEqual(refused.verdict, validation.VERDICT_RATE_LIMITED)
        self.assertGreater(refused.rate_limits[0].retry_after.ToTimedelta().total_seconds(), 0)
        self.assertEqual(self.verdict(secret, cost=0), "VERDICT_VALID")
        self.assertEqual(self.verdict(secret, cost=2, dry_run=True), "VERDICT_RATE_LIMITED")
        got = self.call("Get", tokens.GetRequest(token_id=token_id))
        self.assertEqual((got.rate_limits[0].remaining, got.quota_remaining), (0, 2))
        self.assertEqual(got.token.quota.remaining, 2)
        reset = self.call("ResetLimits", tokens.ResetLimitsRequest(token_id=token_id))
        self.assertEqual((reset.rate_limits[0].remaining, reset.quota_remaining), (3, 5))
        more = token.Token(token_id=token_id, quota=token.Quota(limit=2))
        self.assertEqual(self.update(more, "quota.limit").quota.remaining, 2)
        self.assertEqual(self.verdict(secret, cost=3), "VERDICT_QUOTA_EXHAUSTED")
        free = self.validate(self.call("Create", tokens.CreateRequest(name="free")).secret)
        self.assertFalse(free.HasField("quota_remaining"))

    def test_a_caller_over_its_own_limit_is_told_when_to_try_again(self):
        secret = self.call("Create", tokens.CreateRequest(
            name="caller", scopes=["authority:read"], rate_limits=[token.RateLimit(requests=1)],
        )).secret
        self.call("List", tokens.ListRequest(owner="nobody"), secret)
        error = self.refused("List", tokens.ListRequest(owner="nobody"), secret)
        self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assert_reason(error, "ERROR_REASON_CALLER_LIMITED")
        delay = detail(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta()
        self.assertTrue(0 < delay.total_seconds() <= 60, delay)

    def test_a_unix_socket_is_called_under_an_authority_that_is_none_of_its_path(self):
        options = [("grpc.default_authority", "localhost")]
        with grpc.insecure_channel(f"unix:{self.server.socket}", options) as channel:
            answer = token_service.TokenServiceStub(channel).WhoAmI(
                validation.WhoAmIRequest(),
                metadata=[("authorization", "Bearer " + self.server.credential)],
                timeout=CALL_SECONDS_MAX,
            )
        self.assertEqual(list(answer.permissions), ["admin@*"])

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

    def test_no_call_fails_while_connections_come_of_age(self):
        flags = ("--set", "limits.connection_age=200ms")
        with servers.serving(self.store, flags=flags) as server:
            with grpc.insecure_channel(server.address) as channel:
                wait_until_serving(health_pb2_grpc.HealthStub(channel), server)
                stub = token_service.TokenServiceStub(channel)
                metadata = [("authorization", f"Bearer {server.credential}")]
                until = time.monotonic() + CONNECTIONS_COME_OF_AGE_SECONDS
                # Each batch is under way at once.
                while time.monotonic() < until:
                    request = validation.ValidateRequest(secret="rubbish")
                    ask = lambda: stub.Validate.future(
                        request, metadata=metadata, timeout=CALL_SECONDS_MAX
                    )
                    for answer in [ask() for _ in range(20)]:
                        self.assertFalse(answer.result().valid)
                page = urllib.request.urlopen(f"http://{server.address}/metrics").read().decode()
                aged = re.search(r'connections_ended_total{reason="aged"} (\d+)', page)
                self.assertGreaterEqual(int(aged.group(1)), 5, page)

    def detail_of(self, error: grpc.RpcError, kind):
        return detail(error, kind)

    def assert_reason(self, error: grpc.RpcError, reason: str):
        info = detail(error, error_details_pb2.ErrorInfo)
        self.assertEqual((info.domain, info.reason), ("tokenauthority", reason))


class OnSqlite(OnAStore, unittest.TestCase):
    store = "sqlite"


class OnRedis(OnAStore, unittest.TestCase):
    store = "redis"


class OverTls(unittest.TestCase):
    """The same over TLS, as root and as the holder of a certificate."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.files = pathlib.Path(folder.name)
        # Without the extensions that a system's own configuration adds.
        (cls.files / "openssl.cnf").write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        cls.issue("ca", "basicConstraints=critical,CA:TRUE")
        cls.issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1", by="ca")
        cls.issue("gateway", "subjectAltName=URI:spiffe://example.org/gateway", by="ca")
        caller = '{ name = "gateway", uri = "spiffe://example.org/gateway", permissions = ["read"] }'
        settings = (
            f"tls.certificate_file={cls.files}/server.pem", f"tls.key_file={cls.files}/server.key",
            f"tls.client_ca_file={cls.files}/ca.pem", f"access.certificate_callers=[{caller}]",
        )
        flags = tuple(word for setting in settings for word in ("--set", setting))
        cls.serving = servers.serving("sqlite", flags=flags)
        cls.server = cls.serving.__enter__()
        cls.addClassCleanup(cls.serving.__exit__, None, None, None)

    @classmethod
    def issue(cls, name: str, extension: str, by: str | None = None):
        """Makes NAME.pem and NAME.key, signed by another or by itself."""
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        signed = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else []
        subprocess.run(
            ["openssl", "req", "-config", "openssl.cnf", "-x509", *key, "-days", "1", "-subj", f"/CN={name}", *signed,
             "-addext", extension, "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=cls.files, check=True, capture_output=True,
        )

    def channel(self, own: str | None = None):
        read = lambda name: (self.files / name).read_bytes()
        shown = (read(f"{own}.key"), read(f"{own}.pem")) if own else (None, None)
        credentials = grpc.ssl_channel_credentials(read("ca.pem"), *shown)
        channel = grpc.secure_channel(self.server.address, credentials)
        self.addCleanup(channel.close)
        wait_until_serving(health_pb2_grpc.HealthStub(channel), self.server)
        return token_service.TokenServiceStub(channel)

    def test_a_secret_is_a_credential_over_tls(self):
        metadata = [("authorization", f"Bearer {self.server.credential}")]
        who = self.channel().WhoAmI(
            validation.WhoAmIRequest(), metadata=metadata, timeout=CALL_SECONDS_MAX
        )
        self.assertEqual(list(who.permissions), ["admin@*"])

    def test_a_certificate_is_a_credential(self):
        stub = self.channel("gateway")
        who = stub.WhoAmI(validation.WhoAmIRequest(), timeout=CALL_SECONDS_MAX)
        self.assertEqual((who.caller, list(who.permissions)), ("certificate:gateway", ["read@default"]))
        self.assertEqual(list(stub.List(tokens.ListRequest(), timeout=CALL_SECONDS_MAX).tokens), [])

    def test_neither_is_none(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel().List(tokens.ListRequest(), timeout=CALL_SECONDS_MAX)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)


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
