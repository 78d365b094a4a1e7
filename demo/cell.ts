/** An observable value. */
export class Cell<T> {
  #value: T;
  #watchers = new Set<(value: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set value(value: T) {
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }

  /** Calls `watcher` now and after each change, until the signal aborts. */
  watch(signal: AbortSignal, watcher: (value: T) => void): void {
    if (signal.aborted) return;
    this.#watchers.add(watcher);
    signal.addEventListener("abort", () => this.#watchers.delete(watcher), { once: true });
    watcher(this.#value);
  }
}

/** Calls `act` once, `wait` milliseconds after the last call. `cancel` cancels the pending call. */
export function settled<A extends unknown[]>(
  wait: number,
  signal: AbortSignal,
  act: (...args: A) => void,
): ((...args: A) => void) & { cancel(): void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const cancel = () => clearTimeout(timer);
  signal.addEventListener("abort", cancel, { once: true });
  const later = (...args: A) => {
    cancel();
    if (!signal.aborted) timer = setTimeout(() => act(...args), wait);
  };
  return Object.assign(later, { cancel });
}
