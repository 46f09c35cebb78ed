"""Why a call is refused, as the status that its client gets: the table that stands at `Verdict`."""

from __future__ import annotations

import dataclasses
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2, status_pb2

from tokenauthority.v1 import error_reason_pb2, validation_pb2

DOMAIN: Final = "tokenauthority"

#: The reason of refusals for want of an answer; the authority itself never gives it.
AUTHORITY_UNAVAILABLE: Final = "AUTHORITY_UNAVAILABLE"

_DETAILS: Final = "grpc-status-details-bin"
_PUSHBACK: Final = "grpc-retry-pushback-ms"

_V = validation_pb2
_CODES: Final = {
    **dict.fromkeys(
        (
            _V.VERDICT_MALFORMED, _V.VERDICT_NOT_FOUND, _V.VERDICT_REVOKED, _V.VERDICT_DISABLED,
            _V.VERDICT_EXPIRED, _V.VERDICT_SUPERSEDED, _V.VERDICT_LEASE_ENDED,
        ),
        grpc.StatusCode.UNAUTHENTICATED,
    ),
    _V.VERDICT_RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    _V.VERDICT_QUOTA_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A status with its details, ready to be sent."""

    code: grpc.StatusCode
    message: str
    reason: str
    retry_after: duration_pb2.Duration | None = None
    #: Whether gRPC clients shall be told, too, to wait that long before they try again.
    pushback: bool = False

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """`google.rpc` details, and how long gRPC's own retries have to wait."""
        details: list[message.Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        ]
        trailing: list[tuple[str, str | bytes]] = []
        if self.retry_after is not None:
            details.append(error_details_pb2.RetryInfo(retry_delay=self.retry_after))
        if self.pushback:
            # -1: no attempt will ever pass.
            millis = -1 if self.retry_after is None else _millis_up(self.retry_after)
            trailing.append((_PUSHBACK, str(millis)))
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return ((_DETAILS, status.SerializeToString()), *trailing)


def of_answer(answer: validation_pb2.ValidateResponse) -> Refusal | None:
    """Why an answer refuses the call; None only for VERDICT_VALID. Verdicts that are yet to come
    refuse with PERMISSION_DENIED."""
    if answer.valid and answer.verdict == _V.VERDICT_VALID:
        return None
    limited = answer.verdict == _V.VERDICT_RATE_LIMITED
    return Refusal(
        _CODES.get(answer.verdict, grpc.StatusCode.PERMISSION_DENIED),
        "the token does not allow this call",
        _name(answer.verdict),
        _longest_wait(answer) if limited else None,
        pushback=limited,
    )


def of_error(error: grpc.RpcError) -> Refusal:
    """Why a call is refused that the authority did not judge.

    Never because of what the authority says about the guard itself: that its credential is not in
    force, or that it asks too much, is no news for the client, who may try again.
    """
    details = _details(error)
    guessed = error_reason_pb2.ErrorReason.Name(
        error_reason_pb2.ERROR_REASON_FAILURES_LIMITED
    )
    if details.reason == guessed:
        code, reason = grpc.StatusCode.RESOURCE_EXHAUSTED, guessed
        told = "too many unknown secrets came from this address"
    else:
        code, reason = grpc.StatusCode.UNAVAILABLE, AUTHORITY_UNAVAILABLE
        told = "the call could not be judged"
    limited = details.reason == guessed and details.retry_after is not None
    return Refusal(code, told, reason, details.retry_after, pushback=limited)


def no_credential() -> Refusal:
    """None was presented, or two different ones."""
    reason = error_reason_pb2.ErrorReason.Name(error_reason_pb2.ERROR_REASON_CREDENTIAL_INVALID)
    told = "present one token, in `authorization` (`Bearer <secret>`) or in `x-api-key`"
    return Refusal(grpc.StatusCode.UNAUTHENTICATED, told, reason)


def malformed() -> Refusal:
    """Longer than any secret."""
    return Refusal(
        grpc.StatusCode.UNAUTHENTICATED, "the token does not allow this call",
        _name(_V.VERDICT_MALFORMED),
    )


def scope_denied() -> Refusal:
    """The policy gives the method to nobody."""
    return Refusal(
        grpc.StatusCode.PERMISSION_DENIED, "no token allows this call",
        _name(_V.VERDICT_SCOPE_DENIED),
    )


@dataclasses.dataclass(frozen=True)
class _Details:
    reason: str = ""
    retry_after: duration_pb2.Duration | None = None


def _details(error: grpc.RpcError) -> _Details:
    """What stands in the details of an error that is the authority's own."""
    trailing = dict(getattr(error, "trailing_metadata", tuple)() or ())
    try:
        status = status_pb2.Status.FromString(trailing.get(_DETAILS, b""))
        reason, retry_after = "", None
        for packed in status.details:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if packed.Unpack(info) and info.domain == DOMAIN:
                reason = info.reason
            elif packed.Unpack(retry):
                retry_after = retry.retry_delay
    except message.DecodeError:
        return _Details()
    return _Details(reason, retry_after)


def _longest_wait(answer: validation_pb2.ValidateResponse) -> duration_pb2.Duration | None:
    waits = [s.retry_after for s in answer.rate_limits if s.HasField("retry_after")]
    return max(waits, key=lambda wait: (wait.seconds, wait.nanos), default=None)


def _millis_up(span: duration_pb2.Duration) -> int:
    return -(-span.ToNanoseconds() // 1_000_000)


def _name(verdict: int) -> str:
    try:
        return _V.Verdict.Name(_V.Verdict.ValueType(verdict))
    except (ValueError, AttributeError):
        return f"VERDICT_{verdict}"
