/** Which applications are to be looked at: at once and before others, at once, or at a time. A key is taken when it is due and put back by who still owes it something. */
export class Queue {
  readonly #urgent = new Set<string>();
  readonly #now = new Set<string>();
  readonly #at = new Map<string, number>();

  /** urgent: its clients have lost something. */
  add(key: string, isUrgent = false): void {
    (isUrgent ? this.#urgent : this.#now).add(key);
  }

  addAt(key: string, at: number): void {
    this.#at.set(key, Math.min(at, this.#at.get(key) ?? Number.POSITIVE_INFINITY));
  }

  /** Those that cannot wait. */
  takeUrgent(): string[] {
    const out = [...this.#urgent];
    this.#urgent.clear();
    return out;
  }

  /** What is due by now joins the others; null = nothing is left. */
  next(now: number): string | null {
    for (const [key, at] of this.#at) {
      if (at > now) continue;
      this.#at.delete(key);
      this.#now.add(key);
    }
    const key = this.#now.values().next().value ?? null;
    if (key !== null) this.#now.delete(key);
    return key;
  }

  get isEmpty(): boolean {
    return this.#urgent.size === 0 && this.#now.size === 0;
  }

  /** null = nothing waits for a time. */
  get nextAt(): number | null {
    let next: number | null = null;
    for (const at of this.#at.values()) if (next === null || at < next) next = at;
    return next;
  }

  forget(key: string): void {
    this.#urgent.delete(key);
    this.#now.delete(key);
    this.#at.delete(key);
  }
}
