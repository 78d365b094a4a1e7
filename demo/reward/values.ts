import type { DataSource } from "../../src/client/types.ts";

/** The recipe's form behind the control. */
export interface RewardValues {
  get(name: string): unknown;
  /** undefined restores the default */
  set(name: string, value: unknown): void;
  /** `data`: the rows to try a reward on; `recipe`: null while it has an error */
  form: { data: DataSource | null; recipe: Record<string, unknown> | null };
}
