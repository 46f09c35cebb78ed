"""Guards gRPC servers with a token authority, and holds leases of its pooled tokens.

`Guard` is for servers of threads, `token_authority.aio.Guard` for those of asyncio, `Worker` for
whoever takes tokens of a pool, and `Fence` for the resource that workers write to.
"""

from .channel import SERVICE_CONFIG, connect
from .guard import Guard, caller
from .policy import Policy
from .question import Caller
from .worker import Fence, FenceStale, HeldLease, LeaseLost, Worker

__all__ = [
    "SERVICE_CONFIG",
    "Caller",
    "Fence",
    "FenceStale",
    "Guard",
    "HeldLease",
    "LeaseLost",
    "Policy",
    "Worker",
    "caller",
    "connect",
]
