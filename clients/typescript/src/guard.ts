import {
  Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  ServerListenerBuilder,
  status,
  type ServerInterceptor,
  type ServiceError,
} from "@grpc/grpc-js";
import { isIP } from "node:net";
import { Cache, questionOf } from "./cache.js";
import { pause, unary, within } from "./calls.js";
import type { TokenServiceClient } from "./gen/tokenauthority/v1/token_service.js";
import { ValidateRequest, type ValidateResponse } from "./gen/tokenauthority/v1/validation.js";
import { malformed, refusalOf, unanswered, unasked, type Refusal } from "./refusal.js";

const SECRET_BYTES_MAX = 512;
const USER_AGENT_CHARACTERS_MAX = 128;
const TRACEABLE = /^[!-~]{1,128}$/;
const WATCH_PAUSE_MIN = 100;
const WATCH_PAUSE_MAX = 10_000;
const ENDS_WATCH = new Set([
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.UNIMPLEMENTED,
  status.INVALID_ARGUMENT,
]);

export interface GuardOptions {
  /** How long a verdict is waited for, in milliseconds, retries included: 1000. */
  timeout?: number;
  /** Scopes that the token must grant, by the full method of the call. */
  scopes?: (fullMethod: string) => string[];
  /** Where tokens must live, and whose events are watched: that of the guard's own token; `-` for all. */
  namespace?: string;
  /** Full methods that pass unjudged, such as `/grpc.health.v1.Health/Check`. */
  publicMethods?: Iterable<string>;
  /** How many answers are remembered at most: 10 000; 0 for none. */
  maxEntries?: number;
  /** Told why calls could not be judged, and why Watch broke; never a secret. */
  onError?: (error: Error) => void;
}

/** What grpc-js tells an interceptor of a call, as far as it is judged. */
interface Incoming {
  readonly fullMethod: string;
  readonly headers: Metadata;
  readonly address: string | undefined;
  readonly deadline: Date | number;
}

/**
 * Judges each call that comes to a server before its handler runs: the secret in its metadata, the full
 * method as the path, and the address of the peer. It fails closed: where no verdict is to be had within
 * the timeout, the call ends with UNAVAILABLE. A stream is judged once, when it is opened.
 *
 * `new Server({ interceptors: [guard.interceptor] })`
 */
export class Guard {
  readonly #authority: TokenServiceClient;
  readonly #cache: Cache;
  readonly #namespace: string;
  readonly #public: Set<string>;
  readonly #scopes: (fullMethod: string) => string[];
  readonly #timeout: number;
  readonly #onError: (error: Error) => void;
  readonly #answers = new WeakMap<Metadata, ValidateResponse>();

  /** The client must present a token with the permission `validate`, and `read` for `watch`. */
  constructor(authority: TokenServiceClient, options: GuardOptions = {}) {
    this.#authority = authority;
    this.#cache = new Cache(options.maxEntries ?? 10_000);
    this.#namespace = options.namespace ?? "";
    this.#public = new Set(options.publicMethods);
    this.#scopes = options.scopes ?? (() => []);
    this.#timeout = options.timeout ?? 1000;
    this.#onError = options.onError ?? (() => {});
  }

  /** For the option `interceptors` of a server. */
  readonly interceptor: ServerInterceptor = (method, call) => {
    if (this.#public.has(method.path)) return new ServerInterceptingCall(call);
    const cancelled = new AbortController();
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((headers, next) => {
        const address = call.getConnectionInfo().remoteAddress;
        const incoming = { fullMethod: method.path, headers, address, deadline: call.getDeadline() };
        // It never rejects: whatever goes wrong is a refusal.
        void this.#judge(incoming, cancelled.signal).then((refusal) => {
          if (refusal) call.sendStatus(refusal);
          else next(headers);
        });
      })
      .withOnCancel(() => cancelled.abort())
      .build();
    const responder = new ResponderBuilder().withStart((next) => next(listener)).build();
    return new ServerInterceptingCall(call, responder);
  };

  /** What let the call of a handler pass: its `token` says whose it is. Absent for public methods. */
  answerOf(call: { metadata: Metadata }): ValidateResponse | undefined {
    return this.#answers.get(call.metadata);
  }

  /**
   * Follows what happens to tokens, and forgets at once what is remembered of a token that something
   * happened to. It goes on behind the last event, until `signal` is aborted, which resolves, or the
   * authority says that this caller may not watch, which rejects.
   *
   * Without it, or while it cannot reach the authority, remembered answers live on for the rest of their
   * `cache_ttl`, and a revocation shows late by at most that, as the operator allowed.
   */
  async watch(signal: AbortSignal): Promise<void> {
    const place = { cursor: "", heard: false };
    let wait = WATCH_PAUSE_MIN;
    while (!signal.aborted) {
      place.heard = false;
      const error = await this.#follow(place, signal);
      if (signal.aborted) return;
      if (error && ENDS_WATCH.has(error.code)) throw error;
      if (error?.code === status.OUT_OF_RANGE) {
        // What happened meanwhile is not told.
        place.cursor = "";
        this.#cache.clear();
      }
      if (error) this.#onError(error);
      if (place.heard) wait = WATCH_PAUSE_MIN;
      await pause(wait / 2 + Math.random() * wait, signal);
      wait = Math.min(wait * 2, WATCH_PAUSE_MAX);
    }
  }

  /** Reads one stream to its end. */
  #follow(place: { cursor: string; heard: boolean }, signal: AbortSignal): Promise<ServiceError | undefined> {
    return new Promise((resolve) => {
      const fresh = place.cursor === "";
      const request = { namespace: this.#namespace, types: [], tokenId: "", cursor: place.cursor };
      const stream = this.#authority.watch(request);
      const cancel = () => stream.cancel();
      const end = (error?: ServiceError) => {
        signal.removeEventListener("abort", cancel);
        resolve(error);
      };
      signal.addEventListener("abort", cancel, { once: true });
      stream.on("metadata", (headers: Metadata) => {
        const [begins] = headers.get("watch-cursor");
        if (typeof begins !== "string") return;
        place.cursor = begins;
        place.heard = true;
        // What was remembered before the stream began may have changed unheard.
        if (fresh) this.#cache.clear();
      });
      stream.on("data", (event: { cursor: string; token?: { tokenId: string } | undefined }) => {
        place.cursor = event.cursor;
        if (event.token) this.#cache.drop(event.token.tokenId);
      });
      stream.on("error", end);
      stream.on("end", () => end());
    });
  }

  async #judge(incoming: Incoming, cancelled: AbortSignal): Promise<Refusal | undefined> {
    try {
      const asked = this.#questionAbout(incoming);
      if (!asked) return unasked();
      if (Buffer.byteLength(asked.secret) > SECRET_BYTES_MAX) return malformed();
      const answer = await this.#ask(asked, incoming.deadline, cancelled);
      this.#answers.set(incoming.headers, answer);
      return refusalOf(answer);
    } catch (error) {
      this.#onError(error as Error);
      return unanswered(error);
    }
  }

  async #ask(asked: ValidateRequest, deadline: Date | number, cancelled: AbortSignal): Promise<ValidateResponse> {
    const question = questionOf(asked);
    const known = this.#cache.get(question, performance.now());
    if (known) return known;
    const flight = this.#cache.begin(performance.now());
    let answer: ValidateResponse | undefined;
    try {
      const authority = this.#authority;
      const soonest = Math.min(Number(deadline), Number(within(this.#timeout)));
      answer = await unary(authority.validate.bind(authority), asked, { deadline: soonest }, cancelled);
      return answer;
    } finally {
      this.#cache.land(flight, question, answer);
    }
  }

  #questionAbout({ fullMethod, headers, address }: Incoming): ValidateRequest | undefined {
    const secret = presented(headers);
    if (secret === undefined) return undefined;
    const requestId = first(headers, "x-request-id");
    return ValidateRequest.fromPartial({
      secret,
      namespace: this.#namespace,
      requiredScopes: this.#scopes(fullMethod),
      method: "POST",
      path: fullMethod,
      clientIp: judged(address),
      userAgent: first(headers, "user-agent").slice(0, USER_AGENT_CHARACTERS_MAX),
      requestId: TRACEABLE.test(requestId) ? requestId : "",
    });
  }
}

/** The one secret in `authorization: Bearer` and `x-api-key`; undefined where there is none, or another. */
function presented(headers: Metadata): string | undefined {
  const found = new Set(headers.get("x-api-key").map(String));
  for (const value of headers.get("authorization")) {
    const bearer = /^bearer(?: +(.*))?$/i.exec(value.toString());
    if (bearer) found.add(bearer[1]?.trim() ?? "");
  }
  const [secret] = found;
  return found.size === 1 && secret ? secret : undefined;
}

/** The peer's address, and empty where it has none, as on a Unix socket. Behind a proxy it is the proxy's. */
function judged(address: string | undefined): string {
  const [bare] = (address ?? "").split("%");
  return bare && isIP(bare) ? bare : "";
}

function first(headers: Metadata, key: string): string {
  return headers.get(key)[0]?.toString() ?? "";
}
