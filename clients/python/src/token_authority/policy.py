"""What a guard asks of each call, and how long it waits for the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable


def _none(_method: str) -> Iterable[str] | None:
    return ()


@dataclasses.dataclass(frozen=True)
class Policy:
    """What a guard asks of each call; the defaults ask for a valid token that may call the method."""

    #: Namespace that tokens must live in. Empty: that of the guard's own credential; `-`: any.
    namespace: str = ""

    #: The scopes that a full method (`/shop.Orders/Get`) needs. None refuses the method to everybody,
    #: so that the `get` of a dictionary refuses those it does not list.
    scopes: Callable[[str], Iterable[str] | None] = _none

    #: Full methods that need no token, such as `/grpc.health.v1.Health/Check`.
    unguarded: frozenset[str] = frozenset()

    #: Longest wait for a judgement, in seconds, further attempts included; also no longer than the
    #: judged call may take. Beyond it the call is refused.
    deadline: float = 1.0

    #: Most answers to keep, where the authority allows it by `cache_ttl`; 0 keeps none, and watches
    #: nothing.
    cache_entries: int = 10_000

    def __post_init__(self) -> None:
        if not self.deadline > 0:
            raise ValueError(f"deadline must be more than 0 seconds, not {self.deadline}")
        if self.cache_entries < 0:
            raise ValueError(f"cache_entries must not be negative, as {self.cache_entries} is")
