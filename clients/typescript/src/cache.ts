import { createHash } from "node:crypto";
import { milliseconds } from "./calls.js";
import type { ValidateRequest, ValidateResponse } from "./gen/tokenauthority/v1/validation.js";

/**
 * Names what was asked, the secret included, without holding it: a digest of all that a verdict may
 * depend on, each part behind its length.
 */
export function questionOf(asked: ValidateRequest): string {
  const hash = createHash("sha256");
  const parts = [asked.secret, asked.namespace, asked.owner, asked.method, asked.path, asked.clientIp];
  for (const part of [...parts, ...asked.requiredScopes]) {
    const bytes = Buffer.from(part, "utf8");
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest("base64");
}

/** A question on its way. An event that comes meanwhile may be newer than the answer. */
export interface Flight {
  readonly asked: number;
  readonly changed: Set<string>;
  all: boolean;
}

interface Entry {
  readonly answer: ValidateResponse;
  readonly tokenId: string;
  readonly until: number;
}

/**
 * Remembers answers for as long as their `cache_ttl` says, at most so many, and forgets the one that was
 * not used for longest. Times are milliseconds of a clock that is never set.
 */
export class Cache {
  readonly #max: number;
  readonly #entries = new Map<string, Entry>();
  readonly #tokens = new Map<string, Set<string>>();
  readonly #flights = new Set<Flight>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(question: string, now: number): ValidateResponse | undefined {
    const entry = this.#entries.get(question);
    if (!entry) return undefined;
    this.#remove(question);
    if (now >= entry.until) return undefined;
    this.#put(question, entry);
    return entry.answer;
  }

  /** Notes that a question is being asked. The flight must be landed. */
  begin(now: number): Flight {
    const flight = { asked: now, changed: new Set<string>(), all: false };
    this.#flights.add(flight);
    return flight;
  }

  /** Remembers what a question was answered, where it was answered and may be remembered. */
  land(flight: Flight, question: string, answer: ValidateResponse | undefined): void {
    this.#flights.delete(flight);
    const ttl = milliseconds(answer?.cacheTtl);
    if (!answer?.valid || ttl <= 0 || this.#max < 1 || flight.all) return;
    const tokenId = answer.token?.tokenId ?? "";
    if (flight.changed.has(tokenId)) return;
    this.#remove(question);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < this.#max) break;
      this.#remove(oldest);
    }
    this.#put(question, { answer, tokenId, until: flight.asked + ttl });
  }

  /** Forgets all answers about a token, those on their way too. */
  drop(tokenId: string): void {
    for (const flight of this.#flights) flight.changed.add(tokenId);
    for (const question of [...(this.#tokens.get(tokenId) ?? [])]) this.#remove(question);
  }

  clear(): void {
    for (const flight of this.#flights) flight.all = true;
    this.#entries.clear();
    this.#tokens.clear();
  }

  #put(question: string, entry: Entry): void {
    this.#entries.set(question, entry);
    const questions = this.#tokens.get(entry.tokenId) ?? new Set<string>();
    this.#tokens.set(entry.tokenId, questions.add(question));
  }

  #remove(question: string): void {
    const entry = this.#entries.get(question);
    if (!entry) return;
    this.#entries.delete(question);
    const questions = this.#tokens.get(entry.tokenId);
    questions?.delete(question);
    if (questions?.size === 0) this.#tokens.delete(entry.tokenId);
  }
}
