import type { JobPlan } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import { formatSeconds } from "../../src/text/times.ts";
import type { Run } from "../run.ts";

/** A part of a run that is still to do. */
interface PartLeft {
  name: string;
  /** null: not known yet */
  seconds: number | null;
}

/** Seconds that units of work took in earlier runs, by a key: a step of a method, a held-out problem. */
export interface Paces {
  get(key: string): number | null;
  put(key: string, seconds: number): void;
}

const KEY = "qwench.paces";
const MOST = 60;
const SOLVING = "held-out problems";

/** Paces that the browser keeps. Without storage, only this run's own are known. */
export function storedPaces(): Paces {
  const read = (): Record<string, number> => {
    try {
      return Object(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
    } catch {
      return {};
    }
  };
  return {
    get: (key) => (Number.isFinite(read()[key]) ? read()[key] : null),
    put(key, seconds) {
      const { [key]: _, ...others } = read();
      const kept = Object.fromEntries([
        ...Object.entries(others).slice(1 - MOST),
        [key, Number(seconds.toPrecision(4))],
      ]);
      try {
        localStorage.setItem(KEY, JSON.stringify(kept));
      } catch {
        // full or forbidden: the next run measures again
      }
    },
  };
}

/** Remembers how fast a run is, for its later phases and for later runs. */
export function keepPaces(run: Run, paces: Paces): void {
  const step = run.stepSeconds();
  if (step !== null) paces.put(keyOf(run, run.record.phase), step);
  if (run.problemSeconds !== null) paces.put(`${run.record.model}/${SOLVING}`, run.problemSeconds);
}

/** Takes the paces that nobody has measured from a run's forecast, so that the time left is known from the first second. */
export function foreseePaces(run: Run, { time, phases }: JobPlan, paces: Paces): void {
  if (!time) return;
  const foresee = (key: string, seconds: number) => {
    if (paces.get(key) === null && Number.isFinite(seconds) && seconds > 0) paces.put(key, seconds);
  };
  for (const [i, { max_steps }] of phases.entries()) foresee(keyOf(run, i), time.phases[i] / max_steps);
  const { evaluate } = run.record.job;
  if (evaluate) foresee(`${run.record.model}/${SOLVING}`, time.heldOut / (evaluate.problems * (phases.length + 1)));
}

/**
 * What is left of a run, part by part: the rest of this phase from its own steps, later phases and evaluations from earlier
 * runs of the same model and method.
 *
 * @param now performance.now()
 */
export function partsLeft(run: Run, paces: Paces, now = performance.now()): PartLeft[] {
  const { record } = run;
  const parts: PartLeft[] = [];
  for (let i = record.phase; i < record.phases.length; i++) {
    const { method, max_steps, global_step } = record.phases[i];
    const steps = max_steps ?? stepsOf(record.job.phases[i]?.recipe);
    if (steps !== null && global_step >= steps) continue;
    const own = i === record.phase ? run.secondsLeft(now) : null;
    const pace = paces.get(keyOf(run, i));
    const seconds = own ?? (pace === null || steps === null ? null : (steps - global_step) * pace);
    parts.push({ name: METHOD_NAMES[method], seconds });
  }
  const { evaluate } = record.job;
  if (!evaluate) return parts;
  const [total, times] = [evaluate.problems, record.phases.length + 1 - record.evaluations.length];
  const each = run.problemSeconds ?? paces.get(`${record.model}/${SOLVING}`);
  const done = run.solving ? run.solving.problems.filter(Boolean).length : 0;
  if (times > 0)
    parts.push({ name: SOLVING, seconds: each === null ? null : each * Math.max(0, total * times - done) });
  return parts;
}

/** `About 6 min 10 s left: SFT 40 s, GRPO 5 min 10 s, held-out problems 20 s`, with the parts that nobody knows yet. */
export function leftText(parts: readonly PartLeft[]): string {
  const known = parts.flatMap(({ name, seconds }) => (seconds === null ? [] : [{ name, seconds }]));
  const unknown = parts.flatMap(({ name, seconds }) => (seconds === null ? [name] : []));
  if (parts.length === 0) return "";
  if (known.length === 0) return "Time left: known after a few steps";
  const sum = known.reduce((all, { seconds }) => all + seconds, 0);
  const each =
    parts.length > 1 ? `: ${known.map(({ name, seconds }) => `${name} ${formatSeconds(seconds)}`).join(", ")}` : "";
  const rest = unknown.length > 0 ? `, and ${unknown.join(" and ")}, not measured yet` : "";
  return `About ${formatSeconds(sum)} left${each}${rest}`;
}

/** One key for each model and method: what a step takes depends on the recipe too, which a later measurement corrects. */
function keyOf({ record }: Run, phase: number): string {
  return `${record.model}/${record.phases[phase]?.method}`;
}

function stepsOf(recipe: Record<string, unknown> | undefined): number | null {
  return typeof recipe?.max_steps === "number" && recipe.max_steps > 0 ? recipe.max_steps : null;
}
