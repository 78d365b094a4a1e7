import type { Method } from "../recipe/field.ts";

// The types of a forecast. All of them survive structured cloning.

/** The memory forecast of one phase, made before any allocation. */
export interface PhasePlan {
  method: Method;
  /** bytes of GPU memory */
  memory: { peak: number; byKind: Record<string, number> };
  trainable: number;
  parameters: number;
  rows: number;
  max_steps: number;
  notes: string[];
}

/** How long a job takes, in seconds: measured once for each adapter, then corrected by earlier runs. */
export interface TimePlan {
  /** everything: the phases, and the held-out problems before and after them */
  seconds: number;
  /** one entry per phase */
  phases: number[];
  heldOut: number;
  /** what it rests on: only the measurement, or also earlier runs of the same method, or of the same method and model */
  basis: "measurement" | "method" | "model";
}

/** A change with which a job that is too large fits. */
export interface WayOut {
  phase: number;
  /** in words: `max completion length 1,808` */
  text: string;
  /** the recipe fields to set */
  fields: Record<string, unknown>;
  /** bytes of GPU memory with it */
  peak: number;
}

/** Whether a job can run. `problem`: a sentence for the user that says why it cannot. */
export interface JobPlan {
  phases: PhasePlan[];
  fits: boolean;
  problem: string | null;
  /** the name of the error that `problem` tells, such as MemoryError; null: none */
  error: string | null;
  /** bytes still to download; null if not known yet */
  download: number | null;
  /** false: from the model's shape and the lengths of rows that are known already; the rows themselves are still to be read */
  exact: boolean;
  /** bytes of memory that the run may use; null: unknown, because browsers do not report GPU memory */
  available: number | null;
  /** bytes that the run keeps in the browser's storage beside downloads, and what is free there; null: unknown */
  disk: { run: number; free: number } | null;
  /** null until the adapter has been measured */
  time: TimePlan | null;
  /** if it does not fit: changes with which it does */
  ways: WayOut[];
}

/** Events of a forecast: what is being done, and plans that become more exact. The last plan holds. */
export type ForecastEvent =
  | { type: "progress"; what: string; done: number; total: number | null }
  | { type: "plan"; plan: JobPlan };
