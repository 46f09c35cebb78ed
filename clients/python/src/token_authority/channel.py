"""Channels to the authority: which calls they try again, and when they notice that it is gone."""

from __future__ import annotations

import json
from typing import Any, Final

import grpc

_SERVICE: Final = "tokenauthority.v1.TokenService"

#: Calls that may be repeated after UNAVAILABLE. `Validate` may count twice then, where the first
#: answer was lost; `Acquire` is in it since `Worker` names each of its requests. Create, BatchCreate,
#: Rotate, Update and Delete are not: whoever repeats those decides it for itself.
_REPEATABLE: Final = (
    "Validate", "BatchValidate", "Acquire", "KeepAlive", "Release", "Get", "List", "ListPools",
    "ListNamespaces", "ResetLimits", "Revoke", "Usage", "Overview", "WhoAmI",
)

#: The service config (gRFC A6): at most 4 attempts, 50 ms to 1 s apart, or as the authority says by
#: `grpc-retry-pushback-ms`; none once the throttle sees that most attempts fail.
SERVICE_CONFIG: Final[dict[str, Any]] = {
    "methodConfig": [{
        "name": [{"service": _SERVICE, "method": method} for method in _REPEATABLE],
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.05s",
            "maxBackoff": "1s",
            "backoffMultiplier": 3,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
}

#: What `connect` sets besides: pings find a connection that died without a word, a short pause
#: before the next attempt finds an authority that is back.
OPTIONS: Final = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


def options_for(target: str) -> list[tuple[str, Any]]:
    """The options for a target; servers refuse the name that gRPC would make of a Unix socket."""
    unix = target.startswith("unix:")
    return OPTIONS + ([("grpc.default_authority", "localhost")] if unix else [])


def connect(target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A channel to the authority at `target`, in plaintext unless `credentials` are given."""
    if credentials is None:
        return grpc.insecure_channel(target, options_for(target))
    return grpc.secure_channel(target, credentials, options_for(target))
