import { status, type ServiceError } from "@grpc/grpc-js";
import { randomUUID } from "node:crypto";
import { milliseconds, pause, unary, within } from "./calls.js";
import {
  AcquireRequest,
  KeepAliveRequest,
  ReleaseRequest,
  type AcquireResponse,
} from "./gen/tokenauthority/v1/leases.js";
import type { Token } from "./gen/tokenauthority/v1/token.js";
import type { TokenServiceClient } from "./gen/tokenauthority/v1/token_service.js";

const BEAT_PAUSE_MIN = 50;
const BEAT_TIMEOUT = 5000;
const CALL_TIMEOUT = 10_000;
const OVER = new Set([status.FAILED_PRECONDITION, status.NOT_FOUND]);

/** Why a lost lease's signal is aborted. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";

  constructor(options?: ErrorOptions) {
    super("the lease is lost", options);
  }
}

/**
 * A token of a pool that nobody else holds, kept by beats until it is released, or lost.
 *
 * It counts as held for two thirds of what the authority last said was left, by this machine's own
 * monotonic clock and from before the beat was sent: so its holder stops before another can begin.
 */
export class Lease implements AsyncDisposable {
  readonly #authority: TokenServiceClient;
  readonly #acquired: AcquireResponse;
  readonly #ended = new AbortController();
  #until = 0;
  #beating: Promise<void> = Promise.resolve();

  private constructor(authority: TokenServiceClient, acquired: AcquireResponse) {
    this.#authority = authority;
    this.#acquired = acquired;
  }

  /**
   * Acquires a lease and keeps it. The request is named where it has no `requestId`, so that it may be
   * repeated. The call waits for `wait` and ten seconds at most.
   */
  static async hold(authority: TokenServiceClient, wanted: Partial<AcquireRequest>): Promise<Lease> {
    const request = AcquireRequest.fromPartial({ ...wanted, requestId: wanted.requestId || randomUUID() });
    const deadline = within(milliseconds(wanted.wait) + CALL_TIMEOUT);
    const lease = new Lease(authority, await unary(authority.acquire.bind(authority), request, { deadline }));
    try {
      // How long it waited in Acquire is not known, so that only a beat says how long it may be used.
      const due = await lease.#beat(BEAT_TIMEOUT);
      lease.#beating = lease.#keep(due);
    } catch (error) {
      await lease.#giveBack().catch(() => {});
      throw error;
    }
    return lease;
  }

  /** The leased token. */
  get token(): Token | undefined {
    return this.#acquired.token;
  }

  /** A secret that is valid for exactly this lease. */
  get secret(): string {
    return this.#acquired.secret;
  }

  /** Greater than that of every lease of the token before: show it to a `Gate`. */
  get fence(): bigint {
    return this.#acquired.lease?.fence ?? 0n;
  }

  /** Aborted when the lease is lost, with a LeaseLostError, or released. Work under it. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Throws unless the lease is held. Ask before each step that must not be done twice. */
  check(): void {
    this.signal.throwIfAborted();
    if (performance.now() >= this.#until) throw new LeaseLostError();
  }

  /** Ends the beats, then the lease. Releasing a lost one does nothing. */
  async release(): Promise<void> {
    this.#ended.abort();
    await this.#beating;
    await this.#giveBack();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  get #leaseId(): string {
    return this.#acquired.lease?.leaseId ?? "";
  }

  async #giveBack(): Promise<void> {
    const authority = this.#authority;
    const request = ReleaseRequest.fromPartial({ leaseId: this.#leaseId });
    await unary(authority.release.bind(authority), request, { deadline: within(BEAT_TIMEOUT) });
  }

  /** Beats until the lease is released, or lost, which it says. */
  async #keep(due: number): Promise<void> {
    while (!this.signal.aborted) {
      await pause(due, this.signal);
      if (this.signal.aborted) return;
      if (this.#left() <= 0) return this.#ended.abort(new LeaseLostError());
      try {
        due = await this.#beat(Math.min(this.#left(), BEAT_TIMEOUT));
      } catch (error) {
        if (OVER.has((error as ServiceError).code)) {
          return this.#ended.abort(new LeaseLostError({ cause: error }));
        }
        // The outcome is unknown: again, until it would be too late.
        due = Math.min(Math.max(this.#left() / 4, BEAT_PAUSE_MIN), Math.max(this.#left(), 0));
      }
    }
  }

  #left(): number {
    return this.#until - performance.now();
  }

  /** Answers in how many milliseconds to beat again. */
  async #beat(timeout: number): Promise<number> {
    const authority = this.#authority;
    const asked = performance.now();
    const request = KeepAliveRequest.fromPartial({ leaseId: this.#leaseId });
    const options = { deadline: within(timeout) };
    const kept = await unary(authority.keepAlive.bind(authority), request, options, this.signal);
    const third = milliseconds(kept.nextBeatAfter);
    this.#until = asked + 2 * third;
    return asked + third - performance.now();
  }
}
