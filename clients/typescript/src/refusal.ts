import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { Metadata, status, type ServiceError } from "@grpc/grpc-js";
import { milliseconds } from "./calls.js";
import { Any } from "./gen/google/protobuf/any.js";
import { Duration } from "./gen/google/protobuf/duration.js";
import { Status } from "./gen/google/rpc/status.js";
import type { RateLimitStatus } from "./gen/tokenauthority/v1/token.js";
import { Verdict, type ValidateResponse } from "./gen/tokenauthority/v1/validation.js";

/** Domain of the `ErrorInfo` in each refusal. */
export const DOMAIN = "tokenauthority";

/** Reason of the `ErrorInfo` where no verdict was to be had; else it is the name of the verdict. */
export const REASON_UNAVAILABLE = "AUTHORITY_UNAVAILABLE";

const REASON_CREDENTIAL = "ERROR_REASON_CREDENTIAL_INVALID";
const REASON_GUESSED = "ERROR_REASON_FAILURES_LIMITED";

/** Tells gRPC clients with a retry policy when to try again (gRFC A6). */
const PUSHBACK = "grpc-retry-pushback-ms";
const DETAILS = "grpc-status-details-bin";
const RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo";
const ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo";

/** What a call ends with that is not let through. */
export interface Refusal {
  code: status;
  details: string;
  metadata: Metadata;
}

/**
 * The gRPC code that stands for a verdict, as the comments of `Verdict` say. A verdict that is not known
 * here is a refusal.
 */
export function codeOf(verdict: Verdict): status {
  switch (verdict) {
    case Verdict.VERDICT_VALID:
      return status.OK;
    case Verdict.VERDICT_MALFORMED:
    case Verdict.VERDICT_NOT_FOUND:
    case Verdict.VERDICT_REVOKED:
    case Verdict.VERDICT_DISABLED:
    case Verdict.VERDICT_EXPIRED:
    case Verdict.VERDICT_SUPERSEDED:
    case Verdict.VERDICT_LEASE_ENDED:
      return status.UNAUTHENTICATED;
    case Verdict.VERDICT_RATE_LIMITED:
    case Verdict.VERDICT_QUOTA_EXHAUSTED:
      return status.RESOURCE_EXHAUSTED;
    default:
      return status.PERMISSION_DENIED;
  }
}

/** Why an answer does not let the call through; undefined where it does. */
export function refusalOf(answer: ValidateResponse): Refusal | undefined {
  const code = codeOf(answer.verdict);
  if (code === status.OK && answer.valid) return undefined;
  return refusal(
    code === status.OK ? status.PERMISSION_DENIED : code,
    answer.verdict,
    answer.verdict === Verdict.VERDICT_RATE_LIMITED ? retryAfter(answer.rateLimits) : undefined,
  );
}

/** Refuses what was not asked about, since it cannot be a secret. */
export function malformed(): Refusal {
  return refusal(status.UNAUTHENTICATED, Verdict.VERDICT_MALFORMED);
}

/** Refuses a call that presents no secret, or two different ones. */
export function unasked(): Refusal {
  const told = "present one token, in `authorization` (`Bearer <secret>`) or in `x-api-key`";
  return withDetails(status.UNAUTHENTICATED, told, [errorInfo(REASON_CREDENTIAL)]);
}

/**
 * What a call ends with that could not be judged. Whatever the authority said of this server, such as
 * that its own credential is not in force, is not the caller's affair; that too many wrong secrets came
 * from the caller's address is.
 */
export function unanswered(error: unknown): Refusal {
  const details = detailsOf(error);
  const hints = details.filter((detail) => detail.typeUrl === RETRY_INFO);
  const guessed = errorInfo(REASON_GUESSED);
  if (!details.some((detail) => detail.typeUrl === ERROR_INFO && detail.value.includes(guessed.value))) {
    return withDetails(status.UNAVAILABLE, "the token cannot be judged now", [errorInfo(REASON_UNAVAILABLE), ...hints]);
  }
  const told = "too many unknown secrets came from this address";
  const refused = withDetails(status.RESOURCE_EXHAUSTED, told, [guessed, ...hints]);
  refused.metadata.set(PUSHBACK, pushback(hints[0] ? delayOf(hints[0]) : "never"));
  return refused;
}

type RetryAfter = Duration | "never";

function refusal(code: status, verdict: Verdict, after?: RetryAfter): Refusal {
  const name = Verdict[verdict] ?? String(verdict);
  const details = [errorInfo(name)];
  if (after && after !== "never") details.push(retryInfo(after));
  const refused = withDetails(code, `the token may not do this: ${name}`, details);
  // A cost above a burst never passes.
  if (after) refused.metadata.set(PUSHBACK, pushback(after));
  return refused;
}

/** When to try again; a negative one keeps clients from it. */
function pushback(after: RetryAfter): string {
  return after === "never" ? "-1" : String(Math.ceil(milliseconds(after)));
}

function delayOf(retryInfo: Any): RetryAfter {
  const reader = new BinaryReader(retryInfo.value);
  return reader.pos < reader.len && reader.uint32() === 10 ? Duration.decode(reader, reader.uint32()) : "never";
}

/** When all limits that refused would let the call pass. */
function retryAfter(limits: RateLimitStatus[]): RetryAfter {
  const spans = limits.flatMap((limit) => (limit.retryAfter ? [limit.retryAfter] : []));
  spans.sort((one, other) => milliseconds(other) - milliseconds(one));
  return spans[0] ?? "never";
}

function withDetails(code: status, message: string, details: Any[]): Refusal {
  const metadata = new Metadata();
  metadata.set(DETAILS, Buffer.from(Status.encode({ code, message, details }).finish()));
  return { code, details: message, metadata };
}

/** `google.rpc.ErrorInfo`: 1 is the reason, 2 the domain. */
function errorInfo(reason: string): Any {
  const value = new BinaryWriter().uint32(10).string(reason).uint32(18).string(DOMAIN).finish();
  return { typeUrl: ERROR_INFO, value: Buffer.from(value) };
}

/** `google.rpc.RetryInfo`: 1 is the delay. */
function retryInfo(delay: Duration): Any {
  const writer = new BinaryWriter().uint32(10).fork();
  const value = Duration.encode(delay, writer).join().finish();
  return { typeUrl: RETRY_INFO, value: Buffer.from(value) };
}

function detailsOf(error: unknown): Any[] {
  const found = (error as Partial<ServiceError>).metadata?.get(DETAILS)[0];
  try {
    return found instanceof Buffer ? Status.decode(found).details : [];
  } catch {
    return [];
  }
}
