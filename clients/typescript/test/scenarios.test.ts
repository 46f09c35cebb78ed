/** What every client shows, by the names of clients/README.md. */
import { Server, status, type sendUnaryData, type ServerUnaryCall, type ServiceError } from "@grpc/grpc-js";
import assert from "node:assert/strict";
import { createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { TokenServiceService } from "../src/gen/tokenauthority/v1/token_service.js";
import { ValidateResponse } from "../src/gen/tokenauthority/v1/validation.js";
import { FencedError, Gate, Guard, Lease, LeaseLostError, Verdict } from "../src/index.js";
import { call, connect, GET, guarded, listen, serve, told, until, type Shop } from "./servers.js";

const bearing = (secret: string) => ({ authorization: `Bearer ${secret}` });

async function refused(calling: Promise<unknown>, code: status, reason: string): Promise<ServiceError> {
  const error = await calling.then(() => assert.fail("it passed"), (error: ServiceError) => error);
  assert.equal(error.code, code, error.message);
  assert.equal(told(error).reason, reason);
  assert.equal(told(error).domain, "tokenauthority");
  return error;
}

test("valid", async (t) => {
  const authority = await serve(t);
  const { client } = await authority.guardian();
  const paths = new Set<string>();
  const guard = new Guard(client, { scopes: (path) => (paths.add(path), ["orders:read"]) });
  const shop = await guarded(t, guard);
  const allowed = { scopes: ["orders:*"], allowedCidrs: ["127.0.0.1/32"], allowedEndpoints: [GET] };
  const { id, secret } = await authority.token(allowed);
  assert.equal(await shop.get(bearing(secret)), id);
  assert.deepEqual([...paths], [GET]);
  assert.equal(await shop.get({ "x-api-key": secret }), id);
  await refused(shop.list(bearing(secret)), status.PERMISSION_DENIED, "VERDICT_ENDPOINT_DENIED");
  await refused(shop.get({}), status.UNAUTHENTICATED, "ERROR_REASON_CREDENTIAL_INVALID");
  const two = { ...bearing(secret), "x-api-key": "another" };
  await refused(shop.get(two), status.UNAUTHENTICATED, "ERROR_REASON_CREDENTIAL_INVALID");
  await refused(shop.get(bearing("x".repeat(513))), status.UNAUTHENTICATED, "VERDICT_MALFORMED");

  const anywhere = await authority.token({ scopes: ["orders:*"] });
  assert.equal(await shop.list(bearing(anywhere.secret)), anywhere.id);
  const open = await guarded(t, new Guard(client, { publicMethods: [GET] }));
  assert.equal(await open.get({}), "nobody");
});

test("revoked", async (t) => {
  const authority = await serve(t);
  const shop = await guarded(t, new Guard((await authority.guardian()).client));
  const { id, secret } = await authority.token({});
  await shop.get(bearing(secret));
  await authority.revoke(id);
  const error = await refused(shop.get(bearing(secret)), status.UNAUTHENTICATED, "VERDICT_REVOKED");
  assert(!error.message.includes(secret));
});

test("scope_denied", async (t) => {
  const authority = await serve(t);
  const shop = await guarded(t, new Guard((await authority.guardian()).client, { scopes: () => ["refunds:pay"] }));
  const { secret } = await authority.token({ scopes: ["orders:*"] });
  await refused(shop.get(bearing(secret)), status.PERMISSION_DENIED, "VERDICT_SCOPE_DENIED");
});

test("rate_limited", async (t) => {
  const authority = await serve(t);
  const shop = await guarded(t, new Guard((await authority.guardian()).client));
  const limit = { name: "", requests: 2n, period: undefined, burst: 1n };
  const { secret } = await authority.token({ rateLimits: [limit] });
  await shop.get(bearing(secret));
  const error = await refused(shop.get(bearing(secret)), status.RESOURCE_EXHAUSTED, "VERDICT_RATE_LIMITED");
  const after = told(error).retryAfter ?? 0;
  assert(after > 20 && after <= 30, String(after));
  assert.match(String(error.metadata.get("grpc-retry-pushback-ms")), /^(2\d|30)\d{3}$/);
});

test("authority_down", async (t) => {
  const authority = await serve(t);
  const shop = await guarded(t, new Guard((await authority.guardian()).client));
  const { secret } = await authority.token({});
  await shop.get(bearing(secret));
  await authority.stop();
  await refused(shop.get(bearing(secret)), status.UNAVAILABLE, "AUTHORITY_UNAVAILABLE");
});

test("lease_lost", async (t) => {
  const authority = await serve(t);
  const { id } = await authority.token({ pool: "gpu" });
  const wanted = { pool: "gpu", holder: "worker", leaseDuration: { seconds: 1n, nanos: 500_000_000 } };
  const first = await Lease.hold(authority.client, wanted);
  const begun = performance.now();
  await until("beats outlive the lease's first term", () => {
    first.check();
    return performance.now() - begun > 2000;
  });
  const gate = new Gate();
  gate.admit(id, first.fence);

  const { client } = authority;
  await call(client.release.bind(client), { leaseId: undefined, tokenId: id, force: true });
  const second = await Lease.hold(client, wanted);
  gate.admit(id, second.fence);
  assert.throws(() => gate.admit(id, first.fence), FencedError);
  await until("the loss is noticed", () => first.signal.aborted);
  assert(first.signal.reason instanceof LeaseLostError);
  // A beat was told so; it did not wait for its time to pass.
  assert.equal((first.signal.reason.cause as ServiceError).code, status.FAILED_PRECONDITION);
  assert.throws(() => first.check(), LeaseLostError);
  await first.release();
  second.check();
  await second.release();

  const third = await Lease.hold(client, wanted);
  await authority.stop();
  const down = performance.now();
  await until("without an authority it is lost", () => third.signal.aborted);
  assert(third.signal.reason instanceof LeaseLostError);
  assert(performance.now() - down < 1500);
});

test("cached", async (t) => {
  const authority = await serve(t, '[namespaces.default]\ncache_ttl = "1s"\n');
  const { client, asked } = await authority.guardian();
  const shop = await guarded(t, new Guard(client));
  const [{ id, secret }, other] = [await authority.token({}), await authority.token({})];
  const begun = performance.now();
  for (let time = 0; time < 5; time += 1) assert.equal(await shop.get(bearing(secret)), id);
  assert(asked() === 1 || performance.now() - begun > 1000, `asked ${asked()} times`);
  let soFar = asked();
  assert.equal(await shop.get(bearing(other.secret)), other.id);
  assert.equal(asked(), soFar + 1);
  await until("the cache_ttl is over", () => performance.now() - begun > 1100);
  soFar = asked();
  await shop.get(bearing(secret));
  assert.equal(asked(), soFar + 1);
  for (let time = 1; time <= 2; time += 1) {
    await refused(shop.get(bearing("no secret")), status.UNAUTHENTICATED, "VERDICT_MALFORMED");
    assert.equal(asked(), soFar + 1 + time, "refusals are not remembered");
  }
});

test("dropped_on_watch", async (t) => {
  const authority = await serve(t, '[namespaces.default]\ncache_ttl = "10m"\n');
  const { client, asked } = await authority.guardian();
  const guard = new Guard(client);
  const shop = await guarded(t, guard);
  const { id, secret } = await authority.token({});
  const asks = async () => {
    const soFar = asked();
    await shop.get(bearing(secret));
    return asked() > soFar;
  };
  assert.deepEqual([await asks(), await asks()], [true, false]);
  const ending = new AbortController();
  const watching = guard.watch(ending.signal);
  await until("a Watch that begins forgets what was known before it", asks);
  await until("an answer is remembered again", async () => !(await asks()));
  await authority.revoke(id);
  const begun = performance.now();
  await until("the revocation shows", () => isRefused(shop, secret));
  assert(performance.now() - begun < 5000);
  ending.abort();
  await watching;
});

function isRefused(shop: Shop, secret: string): Promise<boolean> {
  return shop.get(bearing(secret)).then(
    () => false,
    (error: ServiceError) => error.code === status.UNAUTHENTICATED,
  );
}

test("deadline", async (t) => {
  // It takes connections and never answers.
  const hanging = createServer((socket) => t.after(() => socket.destroy())).listen(0, "127.0.0.1");
  t.after(() => hanging.close());
  await until("it listens", () => hanging.listening);
  const client = connect(t, `127.0.0.1:${(hanging.address() as AddressInfo).port}`, "never-seen");
  const shop = await guarded(t, new Guard(client, { timeout: 200 }));
  const begun = performance.now();
  await refused(shop.get(bearing("any")), status.UNAVAILABLE, "AUTHORITY_UNAVAILABLE");
  assert(performance.now() - begun < 2000);
});

test("retried", async (t) => {
  const [heard, server] = [{ attempts: 0, left: 2 }, new Server()];
  const valid = ValidateResponse.fromPartial({ valid: true, verdict: Verdict.VERDICT_VALID });
  server.register(
    TokenServiceService.validate.path,
    (call: ServerUnaryCall<unknown, ValidateResponse>, answer: sendUnaryData<ValidateResponse>) => {
      heard.attempts += 1;
      assert.deepEqual(call.metadata.get("authorization"), ["Bearer guard"]);
      assert(Number(call.getDeadline()) <= Date.now() + 1000);
      heard.left -= 1;
      if (heard.left >= 0) answer({ code: status.UNAVAILABLE, details: "not yet" });
      else answer(null, valid);
    },
    TokenServiceService.validate.responseSerialize,
    TokenServiceService.validate.requestDeserialize,
    "unary",
  );
  const shop = await guarded(t, new Guard(connect(t, await listen(t, server), "guard")));
  await shop.get(bearing("any"));
  assert.equal(heard.attempts, 3);
  heard.left = 100;
  await refused(shop.get(bearing("any")), status.UNAVAILABLE, "AUTHORITY_UNAVAILABLE");
  assert.equal(heard.attempts, 3 + 4);
});
