"""From an incoming call to the question that is asked about it; nothing here speaks to anybody."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import urllib.parse
from collections.abc import Iterable

from tokenauthority.v1 import token_pb2, validation_pb2

from .policy import Policy
from .refusal import Refusal, malformed, no_credential, scope_denied

_SECRET_BYTES_MAX = 512
_USER_AGENT_BYTES_MAX = 512

Metadata = Iterable[tuple[str, str | bytes]]


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who makes a call that was let through: the public facts of its token, and the judgement's name."""

    token: token_pb2.Token
    validation_id: str


def ask_about(
    method: str, metadata: Metadata, peer: str, policy: Policy
) -> validation_pb2.ValidateRequest | Refusal:
    """The question about a call of the full method `method`, or why none need be asked."""
    scopes = policy.scopes(method)
    if scopes is None:
        return scope_denied()
    metadata = list(metadata)
    secrets = set(_secrets(metadata))
    if len(secrets) != 1:
        return no_credential()
    secret = secrets.pop()
    if len(secret.encode()) > _SECRET_BYTES_MAX:
        return malformed()
    return validation_pb2.ValidateRequest(
        secret=secret,
        namespace=policy.namespace,
        required_scopes=list(scopes),
        method="POST",
        path=method,
        client_ip=client_ip(peer),
        user_agent=_first(metadata, "user-agent")[:_USER_AGENT_BYTES_MAX],
    )


def key_of(question: validation_pb2.ValidateRequest) -> bytes:
    """SHA-256 of the secret and of everything that is judged, each part with its length before it."""
    parts = [
        question.secret, question.namespace, question.owner, question.method, question.path,
        question.client_ip, *question.required_scopes,
    ]
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.digest()


def client_ip(peer: str) -> str:
    """The address in what gRPC calls a peer; empty, which tokens bound to networks do not pass with,
    where there is none."""
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    address = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def _secrets(metadata: Iterable[tuple[str, str | bytes]]) -> Iterable[str]:
    for key, value in metadata:
        if isinstance(value, bytes):
            continue
        if key == "x-api-key":
            yield value.strip()
        elif key == "authorization":
            scheme, _, secret = value.strip().partition(" ")
            if scheme.lower() == "bearer":
                yield secret.strip()


def _first(metadata: Iterable[tuple[str, str | bytes]], wanted: str) -> str:
    return next((v for k, v in metadata if k == wanted and isinstance(v, str)), "")
