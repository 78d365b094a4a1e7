import type { Window } from "../../src/report/axes.ts";
import type { XAxis } from "../../src/report/positions.ts";
import { Cell } from "../cell.ts";

/** How charts are drawn. */
interface ChartSettings {
  by: XAxis;
  /** from 0 to below 1 */
  smoothing: number;
  log: boolean;
}

/** The last settings, for the next charts. */
let last: ChartSettings = { by: "step", smoothing: 0, log: false };

/** What several charts share: settings, zoom and crosshair. */
export class ChartLink {
  readonly settings: Cell<ChartSettings>;
  /** the part of the x axis that is shown; null: all */
  readonly window = new Cell<Window | null>(null);
  /** the whole x axis of all charts; null without data */
  readonly whole = new Cell<Window | null>(null);
  /** all places on the x axis, ascending */
  readonly xs = new Cell<readonly number[]>([]);
  /** the axes that the logs have */
  readonly able = new Cell<readonly XAxis[]>(["step"]);
  /** x of the crosshair; null: none */
  readonly at = new Cell<number | null>(null);

  constructor(settings: ChartSettings = last) {
    this.settings = new Cell(settings);
  }

  /** Changes settings. A zoom of another axis ends. */
  set(change: Partial<ChartSettings>): void {
    const { by } = this.settings.value;
    last = { ...this.settings.value, ...change };
    if (last.by !== by) {
      this.window.value = null;
      this.at.value = null;
    }
    this.settings.value = last;
  }
}
