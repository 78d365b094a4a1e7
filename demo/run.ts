import type { Evaluation, LogRecord, PhasePlan, RunEvent, RunRecord, SolvedProblem } from "../src/client/types.ts";
import { inOrder } from "../src/report/names.ts";
import type { Problem } from "./problems.ts";

/** The page's current activity on a run. `idle`: none; see the run's status. */
export type Activity = "idle" | "working" | "pausing" | "stopping";

/** A remark of the run, shown as a line. */
interface Remark {
  kind: "note" | "warning";
  text: string;
}

/** Held-out problems that are being solved. */
interface Solving {
  stage: Evaluation["stage"];
  total: number;
  /** by their place; undefined: not answered yet */
  problems: (SolvedProblem | undefined)[];
  /** places in the order of the answers */
  order: number[];
}

type Progress = Extract<RunEvent, { type: "progress" }>;

/** Number of generation batches kept for display. */
const BATCHES = 24;
/** Number of steps from which the time left is estimated. */
const WINDOW = 12;

/** The page's view of a run: the worker's record and the events since. */
export class Run {
  readonly id: string;
  readonly record: RunRecord;
  activity: Activity = "idle";
  /** loading, downloading, sampling completions or solving problems; null during training steps */
  progress: Progress | null = null;
  problem: Problem | null = null;
  readonly remarks: Remark[] = [];
  readonly plans: (PhasePlan | null)[];
  /** step of the current phase's last checkpoint */
  saved: number | null = null;
  solving: Solving | null = null;
  /** seconds of a held-out problem in the last evaluation of this session */
  problemSeconds: number | null = null;
  /** whether the run belongs to another program: it is only shown */
  readonly readOnly: boolean;
  #solvingSince: number | null = null;
  #times: { step: number; at: number }[] = [];
  #watchers = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(record: RunRecord, readOnly = false) {
    this.readOnly = readOnly;
    this.id = record.id;
    this.record = record;
    this.plans = record.phases.map(() => null);
  }

  /** Calls `watcher` now, and after changes at most a few times per second. */
  watch(signal: AbortSignal, watcher: () => void): void {
    this.#watchers.add(watcher);
    signal.addEventListener("abort", () => this.#watchers.delete(watcher), { once: true });
    watcher();
  }

  /**
   * Schedules a notification of watchers. It combines several changes, and calls each watcher in a separate task so that the
   * page stays responsive.
   */
  changed(): void {
    this.#timer ??= setTimeout(async () => {
      this.#timer = null;
      for (const watcher of [...this.#watchers]) {
        if (this.#watchers.has(watcher)) watcher();
        await new Promise((next) => setTimeout(next));
      }
    }, 150);
  }

  remark(kind: Remark["kind"], text: string): void {
    if (this.remarks.at(-1)?.text !== text) this.remarks.push({ kind, text });
    this.changed();
  }

  /** Applies an event from the worker. */
  take(event: RunEvent, now = performance.now()): void {
    const { record } = this;
    if (!["progress", "solved", "note", "warning"].includes(event.type)) this.progress = null;
    switch (event.type) {
      case "progress":
        this.progress = event;
        if (event.unit === "problems") this.#solvingSince ??= now;
        break;
      case "phase":
        record.phase = event.phase;
        record.phases[event.phase] = {
          method: event.method,
          max_steps: event.max_steps,
          global_step: event.global_step,
        };
        this.plans[event.phase] = event.plan;
        this.saved = event.global_step > 0 ? event.global_step : null;
        this.#times = [{ step: event.global_step, at: now }];
        this.#forgetAfter(event.phase, event.global_step);
        break;
      case "step":
        record.phases[event.phase].global_step = event.step;
        this.#times = [...this.#times, { step: event.step, at: now }].slice(-WINDOW);
        break;
      case "log":
      case "eval":
        logsOf(record, event.phase).push(event.record);
        break;
      case "pictures":
        record.pictures = { ...record.pictures, ...event.pictures };
        break;
      case "generated":
        record.completions = [
          ...record.completions,
          { phase: event.phase, step: event.step, records: event.records },
        ].slice(-BATCHES);
        this.#forgetPictures();
        break;
      case "solved":
        this.#solve(event);
        break;
      case "evaluated":
        if (this.#solvingSince !== null && event.evaluation.problems.length > 0)
          this.problemSeconds = (now - this.#solvingSince) / 1000 / event.evaluation.problems.length;
        this.#solvingSince = null;
        this.solving = null;
        record.evaluations = [
          ...record.evaluations.filter((other) => !sameStage(other, event.evaluation)),
          event.evaluation,
        ];
        record.accuracy = inOrder(record.evaluations).at(-1)!.accuracy;
        break;
      case "checkpoint":
        this.saved = event.step;
        break;
      case "note":
      case "warning":
        this.remark(event.type, event.text);
        break;
      case "end":
        record.status = "finished";
        break;
    }
    this.changed();
  }

  /** Median seconds of the current phase's last steps; null before the first few. */
  stepSeconds(): number | null {
    if (this.#times.length < 3) return null;
    // the median, because the first step compiles and some steps write a checkpoint
    const each = this.#times.slice(1).map(({ at }, i) => at - this.#times[i].at);
    const median = each.sort((a, b) => a - b)[Math.floor(each.length / 2)];
    return median / 1000;
  }

  /** Estimated seconds left in the current phase; null before the first few steps. */
  secondsLeft(now = performance.now()): number | null {
    const { max_steps, global_step } = this.record.phases[this.record.phase] ?? {};
    const [last, each] = [this.#times.at(-1), this.stepSeconds()];
    if (!max_steps || global_step === undefined || !last || each === null) return null;
    return Math.max(0, (max_steps - global_step) * each - (now - last.at) / 1000);
  }

  /** Finished share of the steps of all phases. A phase with an unknown number of steps counts like the current phase. */
  share(): number {
    const { phases, phase, status } = this.record;
    if (status === "finished") return 1;
    const known = phases[phase]?.max_steps ?? 1;
    const steps = phases.map(({ max_steps }) => max_steps ?? known);
    const done = phases.reduce((sum, { global_step }, i) => sum + Math.min(global_step, steps[i]), 0);
    return (
      done /
      Math.max(
        1,
        steps.reduce((a, b) => a + b, 0),
      )
    );
  }

  #solve({ stage, index, total, problem }: Extract<RunEvent, { type: "solved" }>): void {
    if (this.solving?.stage !== stage) this.solving = { stage, total, problems: [], order: [] };
    this.solving.problems[index] = problem;
    this.solving.order.push(index);
  }

  /** Drops the pictures that no completion and no problem names any more. */
  #forgetPictures(): void {
    const { completions, evaluations, pictures } = this.record;
    if (!pictures) return;
    const records = [...completions.flatMap((one) => one.records), ...evaluations.flatMap(({ problems }) => problems)];
    const keys = new Set(records.flatMap(({ images = [] }) => images));
    this.record.pictures = Object.fromEntries(Object.entries(pictures).filter(([key]) => keys.has(key)));
  }

  /** Drops the steps after a checkpoint, because a resumed run repeats them. */
  #forgetAfter(phase: number, step: number): void {
    const { record } = this;
    record.logs[phase] = logsOf(record, phase).filter((log) => log.step <= step);
    record.completions = record.completions.filter((batch) => batch.phase !== phase || batch.step <= step);
  }
}

function sameStage(a: Evaluation, b: Evaluation): boolean {
  return a.stage === b.stage && a.phase === b.phase && a.step === b.step;
}

function logsOf(record: RunRecord, phase: number): LogRecord[] {
  record.logs[phase] ??= [];
  return record.logs[phase];
}
