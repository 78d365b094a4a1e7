import type { Page } from "puppeteer-core";

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  /** microseconds: the start and the length by the clock, and the length in the thread's own time */
  ts: number;
  dur?: number;
  tdur?: number;
  args?: { name?: string; data?: { functionName?: string; url?: string; lineNumber?: number; columnNumber?: number } };
}

/** A task of a page's main thread. Times in milliseconds. */
export interface MainTask {
  /** of its work, not of its wait for a core */
  cpu: number;
  wall: number;
  /** what took longest within it */
  what: string;
}

/** Begins to record the tasks of a page's main thread. */
export async function recordTasks(page: Page): Promise<void> {
  await page.tracing.start({ categories: ["toplevel", "devtools.timeline", "v8", "blink.user_timing"] });
}

/** Ends the record. @returns the tasks, the longest first */
export async function recordedTasks(page: Page): Promise<MainTask[]> {
  const { traceEvents } = JSON.parse(Buffer.from((await page.tracing.stop())!).toString()) as {
    traceEvents: TraceEvent[];
  };
  const main = traceEvents.filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain");
  const ours = traceEvents.filter(({ pid, tid }) => main.some((one) => one.pid === pid && one.tid === tid));
  const parts = ours.filter(({ ph, name }) => ph === "X" && !name.endsWith("RunTask"));
  parts.sort((a, b) => a.ts - b.ts);
  return ours
    .filter(({ name }) => name.endsWith("RunTask"))
    .map((task) => ({ cpu: (task.tdur ?? 0) / 1000, wall: (task.dur ?? 0) / 1000, task }))
    .sort((a, b) => b.cpu - a.cpu)
    .map(({ cpu, wall, task }, i) => ({ cpu, wall, what: i < 20 ? partsOf(task, parts) : "" }));
}

/** The longest parts of a task, each with where its code is. */
function partsOf(task: TraceEvent, all: readonly TraceEvent[]): string {
  const end = task.ts + (task.dur ?? 0);
  const within = all.filter(({ pid, tid, ts }) => pid === task.pid && tid === task.tid && ts >= task.ts && ts < end);
  const longest = within.filter(({ tdur = 0 }) => tdur >= 1000).sort((a, b) => (b.tdur ?? 0) - (a.tdur ?? 0));
  return longest
    .slice(0, 5)
    .map(({ name, tdur, args }) => {
      const { functionName, url, columnNumber } = args?.data ?? {};
      const place = url ? ` ${functionName || "?"} ${url.split("/").at(-1)}:${columnNumber}` : "";
      return `${name}${place} ${((tdur ?? 0) / 1000).toFixed(1)}`;
    })
    .join(", ");
}

/** The longest tasks in lines for a report. */
export function taskLines(tasks: readonly MainTask[], count = 8): string {
  const line = ({ cpu, wall, what }: MainTask) => `${cpu.toFixed(1)} ms of its own (${wall.toFixed(1)} ms): ${what}`;
  return tasks.slice(0, count).map(line).join("\n");
}
