import type { LogRecord } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import { chartBoard } from "../charts/board.ts";
import type { Run } from "../run.ts";

/** The curves of a phase, and the same numbers as a table. */
export function phaseCharts(run: Run, phase: number, signal: AbortSignal): HTMLElement {
  const board = chartBoard(METHOD_NAMES[run.record.phases[phase].method], signal);
  let drawn: LogRecord | undefined;
  run.watch(signal, () => {
    const logs = run.record.logs[phase] ?? [];
    if (logs.at(-1) === drawn) return;
    drawn = logs.at(-1);
    board.update(logs);
  });
  return board.element;
}
