/** What callbacks put in, one reader takes out in order. */
export class Channel<T> implements AsyncIterable<T> {
  readonly #waiting: T[] = [];
  #wake: (() => void) | null = null;
  #over: { readonly error: Error | null } | null = null;

  put(item: T): void {
    if (this.#over !== null) return;
    this.#waiting.push(item);
    this.#wake?.();
  }

  /** The reader gets what is there, then its loop ends. */
  end(): void {
    this.#over ??= { error: null };
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#over ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (;;) {
      const items = this.#waiting.splice(0);
      yield* items;
      if (this.#waiting.length > 0) continue;
      if (this.#over !== null) {
        if (this.#over.error !== null) throw this.#over.error;
        return;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
  }
}
