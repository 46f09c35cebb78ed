import os, threading, time
import grpc
from google.protobuf.duration_pb2 import Duration
from tokenauthority.v1 import leases_pb2 as leases, token_service_pb2_grpc as service

authority = service.TokenServiceStub(grpc.insecure_channel(os.environ.get("SERVER", "localhost:50051")))
caller = [("authorization", "Bearer " + os.environ["TOKEN"])]
wanted = leases.AcquireRequest(pool="gpu", holder="worker-1", wait=Duration(seconds=60))
held = authority.Acquire(wanted, metadata=caller, timeout=70)
by_id, done = {"lease_id": held.lease.lease_id}, threading.Event()

def beat():
    global work_until
    asked = time.monotonic()  # before the call: the lease lasts no shorter from here
    kept = authority.KeepAlive(leases.KeepAliveRequest(**by_id), metadata=caller, timeout=5)
    third = kept.next_beat_after.ToTimedelta().total_seconds()  # of what is left
    work_until = asked + 2 * third  # the last third is for stopping
    return third

def keep_beating(pause):
    while not done.wait(pause):
        try:
            pause = beat()
        except grpc.RpcError:
            pause = 0.5  # try again; if it stays so, work_until passes

threading.Thread(target=keep_beating, args=[beat()], daemon=True).start()
try:
    for step in range(3):
        if time.monotonic() > work_until:
            raise SystemExit("the lease is lost")
        print(f"step {step} with token {held.token.token_id}, fence {held.lease.fence}", flush=True)
finally:
    done.set()
    authority.Release(leases.ReleaseRequest(**by_id), metadata=caller, timeout=5)
