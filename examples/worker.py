import os, time
import grpc
from google.protobuf.duration_pb2 import Duration
from tokenauthority.v1 import leases_pb2 as leases, token_service_pb2_grpc as service

authority = service.TokenServiceStub(grpc.insecure_channel(os.environ.get("SERVER", "localhost:50051")))
caller = [("authorization", "Bearer " + os.environ["TOKEN"])]

def beat(lease):  # answers until when to work, and when to beat again, by this machine's own clock
    asked = time.monotonic()  # before the call: the lease lasts no shorter from here
    kept = authority.KeepAlive(leases.KeepAliveRequest(lease_id=lease.lease_id), metadata=caller, timeout=5)
    third = kept.next_beat_after.ToTimedelta().total_seconds()  # of what is left
    return asked + 2 * third, asked + third

wanted = leases.AcquireRequest(pool="gpu", holder="worker-1", wait=Duration(seconds=60))
held = authority.Acquire(wanted, metadata=caller, timeout=70)
try:
    until, due = beat(held.lease)
    for step in range(3):  # each of them shorter than a third of the lease
        try:
            if time.monotonic() > due:
                until, due = beat(held.lease)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION or time.monotonic() > until:
                raise SystemExit("the lease is lost")
        print(f"step {step} with token {held.token.token_id}, fence {held.lease.fence}", flush=True)
finally:
    authority.Release(leases.ReleaseRequest(lease_id=held.lease.lease_id), metadata=caller, timeout=5)
