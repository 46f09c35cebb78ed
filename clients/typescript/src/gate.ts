/** Says that a holder's lease is over and was followed by another. */
export class FencedError extends Error {
  override readonly name = "FencedError";
}

/**
 * Stands before a resource that pooled tokens protect: it remembers the greatest fence of each token, and
 * refuses lower ones.
 *
 * A real resource keeps these numbers where it keeps its data, and compares in the same transaction.
 */
export class Gate {
  readonly #highest = new Map<string, bigint>();

  /** Throws a FencedError unless this is the latest lease of the token that was seen. */
  admit(tokenId: string, fence: bigint): void {
    if (fence < (this.#highest.get(tokenId) ?? 0n)) {
      throw new FencedError("a later lease was here already");
    }
    this.#highest.set(tokenId, fence);
  }
}
