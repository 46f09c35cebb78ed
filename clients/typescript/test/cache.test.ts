import assert from "node:assert/strict";
import { test } from "node:test";
import { Cache, questionOf } from "../src/cache.js";
import { Metadata, status } from "@grpc/grpc-js";
import { Status } from "../src/gen/google/rpc/status.js";
import { Verdict, ValidateRequest, ValidateResponse } from "../src/gen/tokenauthority/v1/validation.js";
import { codeOf, refusalOf, unanswered } from "../src/refusal.js";

const answered = (tokenId: string, seconds: bigint) =>
  ValidateResponse.fromPartial({ valid: true, token: { tokenId }, cacheTtl: { seconds, nanos: 0 } });

test("the cache is bounded and forgets what is least used", () => {
  const cache = new Cache(2);
  for (const name of ["a", "b"]) cache.land(cache.begin(0), name, answered(name, 60n));
  assert(cache.get("a", 1));
  cache.land(cache.begin(0), "c", answered("c", 60n));
  assert.deepEqual(["a", "b", "c"].map((name) => cache.get(name, 1) !== undefined), [true, false, true]);
  assert.equal(cache.size, 2);
});

test("an answer ends with its ttl, counted from the question", () => {
  const cache = new Cache(2);
  cache.land(cache.begin(1000), "a", answered("a", 60n));
  assert(cache.get("a", 60_999));
  assert.equal(cache.get("a", 61_000), undefined);
  const refusal = ValidateResponse.fromPartial({ cacheTtl: { seconds: 60n } });
  for (const answer of [undefined, answered("a", 0n), refusal]) {
    cache.land(cache.begin(0), "b", answer);
    assert.equal(cache.get("b", 0), undefined);
  }
});

test("an event meanwhile keeps an answer from being remembered", () => {
  const cache = new Cache(9);
  const [changed, other] = [cache.begin(0), cache.begin(0)];
  cache.drop("a");
  cache.land(changed, "a", answered("a", 60n));
  cache.land(other, "b", answered("b", 60n));
  assert.equal(cache.get("a", 0), undefined);
  assert(cache.get("b", 0));
  const late = cache.begin(0);
  cache.clear();
  cache.land(late, "c", answered("c", 60n));
  assert.equal(cache.size, 0);
});

test("questions that differ in anything that is judged are different", () => {
  const asked = [
    {}, { secret: "a" }, { namespace: "a" }, { owner: "a" }, { method: "a" }, { path: "a" }, { clientIp: "a" },
    { requiredScopes: ["a"] }, { requiredScopes: ["a", "a"] }, { requiredScopes: ["aa"] }, { requiredScopes: [""] },
    { secret: "aa" }, { secret: "a", namespace: "a" },
  ];
  const names = new Set(asked.map((one) => questionOf(ValidateRequest.fromPartial(one))));
  assert.equal(names.size, asked.length);
});

test("verdicts become the codes of their comments, and what is unknown refuses", () => {
  for (let verdict = 0; verdict <= 15; verdict += 1) {
    const expected =
      verdict === 1 ? status.OK
      : verdict >= 2 && verdict <= 8 ? status.UNAUTHENTICATED
      : verdict === 13 || verdict === 14 ? status.RESOURCE_EXHAUSTED
      : status.PERMISSION_DENIED;
    assert.equal(codeOf(verdict), expected, Verdict[verdict]);
  }
  assert.equal(refusalOf(ValidateResponse.fromPartial({}))?.code, status.PERMISSION_DENIED);
  const odd = ValidateResponse.fromPartial({ verdict: Verdict.VERDICT_VALID });
  assert.equal(refusalOf(odd)?.code, status.PERMISSION_DENIED);
});

test("a limit that never passes is not to be tried again", () => {
  const limited = { verdict: Verdict.VERDICT_RATE_LIMITED, rateLimits: [{ name: "default" }] };
  const refusal = refusalOf(ValidateResponse.fromPartial(limited));
  assert.deepEqual(refusal?.metadata.get("grpc-retry-pushback-ms"), ["-1"]);
});

test("only guessing is the caller's affair", () => {
  const told = (reason: string) => {
    const domain = "tokenauthority";
    const info = Buffer.concat([text(1, reason), text(2, domain)]);
    const delay = Buffer.from([10, 4, 16, 0xe0, 0xc6, 0x5b]);
    const details = [
      { typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: info },
      { typeUrl: "type.googleapis.com/google.rpc.RetryInfo", value: delay },
    ];
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from(Status.encode({ code: 8, message: "", details }).finish()));
    return Object.assign(new Error(), { metadata });
  };
  const guessed = unanswered(told("ERROR_REASON_FAILURES_LIMITED"));
  assert.equal(guessed.code, status.RESOURCE_EXHAUSTED);
  assert.deepEqual(guessed.metadata.get("grpc-retry-pushback-ms"), ["2"]);
  for (const error of [told("ERROR_REASON_CALLER_LIMITED"), told("ERROR_REASON_CREDENTIAL_INVALID"), new Error()]) {
    assert.equal(unanswered(error).code, status.UNAVAILABLE);
  }
});

function text(field: number, value: string): Buffer {
  return Buffer.concat([Buffer.from([field * 8 + 2, value.length]), Buffer.from(value)]);
}
