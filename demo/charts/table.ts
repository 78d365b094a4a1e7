import type { Series } from "../../src/report/metrics.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import { h } from "../dom.ts";

/** A table of all series, one row per step, newest first, as the accessible alternative to a chart. */
export function figuresTable(columns: readonly Series[], caption: string): HTMLTableElement {
  const byStep = new Map<number, (number | null)[]>();
  columns.forEach(({ points }, i) => {
    for (const [step, value] of points) {
      if (!byStep.has(step))
        byStep.set(
          step,
          columns.map(() => null),
        );
      byStep.get(step)![i] = value;
    }
  });
  const rows = [...byStep].sort(([a], [b]) => b - a);
  return h(
    "table",
    { class: "figures" },
    h("caption", { class: "hidden" }, caption),
    h(
      "thead",
      {},
      h("tr", {}, h("th", { scope: "col" }, "Step"), ...columns.map(({ label }) => h("th", { scope: "col" }, label))),
    ),
    h(
      "tbody",
      {},
      ...rows.map(([step, values]) =>
        h("tr", {}, h("th", { scope: "row" }, step), ...values.map((value) => h("td", {}, formatNumber(value)))),
      ),
    ),
  );
}
