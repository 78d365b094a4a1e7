/** Numbers by TRL's names, after optimizer step `step` (from 1). */
export type LogRecord = { step: number; [name: string]: number };

/** Running means, kept as plain sums so that a checkpoint can store them. */
export class Means {
  private sums: Record<string, number> = {};

  add(values: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(values)) {
      this.sums[name] = (this.sums[name] ?? 0) + value;
      this.sums[`${name}#`] = (this.sums[`${name}#`] ?? 0) + 1;
    }
  }

  /** The mean of each name since the last call, in order of first appearance. */
  take(): Record<string, number> {
    const names = Object.keys(this.sums).filter((name) => !name.endsWith("#"));
    const means = Object.fromEntries(names.map((name) => [name, this.sums[name] / this.sums[`${name}#`]]));
    this.sums = {};
    return means;
  }

  get state(): Record<string, number> {
    return { ...this.sums };
  }

  set state(sums: Record<string, number>) {
    this.sums = { ...sums };
  }
}
