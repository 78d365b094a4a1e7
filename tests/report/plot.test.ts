import { describe, expect, test } from "vitest";
import { axisOf, nearest, selected, within, zoomed } from "../../src/report/axes.ts";
import { logsCsv, seriesCsv } from "../../src/report/csv.ts";
import { loggedNames, namedChart } from "../../src/report/metrics.ts";
import { type PlotInput, plotOf } from "../../src/report/plot.ts";
import { placed, positions } from "../../src/report/positions.ts";
import { smooth } from "../../src/report/smooth.ts";
import { wilson } from "../../src/report/wilson.ts";

const texts = (range: [number, number], options: Parameters<typeof axisOf>[1]) =>
  axisOf(range, options).ticks.map(({ text }) => text);

describe("an axis", () => {
  test("has at least three ticks, with labels that differ", () => {
    for (let low = -3; low < 12; low++) {
      for (const span of [1e-7, 0.003, 0.9, 1, 1.7, 2, 7, 19, 101, 4321, 9e6]) {
        for (const [from, log] of [
          [low * span, false],
          [Math.abs(low) * span + span / 10, true],
        ] as const) {
          for (const kind of ["number", "whole", "seconds"] as const) {
            const { ticks, low: least, high: most } = axisOf([from, from + span], { count: 4, kind, log });
            const [all, own] = [ticks.map(({ at }) => at), ticks.map(({ text }) => text)];
            const what = `${from} + ${span}, ${kind}, log ${log}: ${own}`;
            if (kind !== "whole" || log || span >= 3) expect(all.length, what).toBeGreaterThanOrEqual(3);
            expect(new Set(own).size, what).toBe(own.length);
            expect(all, what).toEqual([...all].sort((a, b) => a - b));
            expect(Math.min(...all), what).toBeGreaterThanOrEqual(least - span * 1e-6);
            expect(Math.max(...all), what).toBeLessThanOrEqual(most + span * 1e-6);
          }
        }
      }
    }
  });
  test("labels share one unit", () => {
    expect(texts([0, 20_000], { count: 4 })).toEqual(["0", "5k", "10k", "15k", "20k"]);
    expect(texts([10_000, 10_003], { count: 3 })).toEqual(["10k", "10.001k", "10.002k", "10.003k"]);
    expect(texts([0, 7200], { count: 4, kind: "seconds" })).toEqual(["0 s", "30 min", "1 h", "1 h 30 min", "2 h"]);
    expect(texts([1, 1], { count: 4, kind: "whole" })).toEqual(["1", "2", "3"]);
    expect(texts([1e-6, 1], { count: 4, log: true })).toEqual(["1e-6", "1e-4", "0.01", "1"]);
    expect(texts([3, 40], { count: 4, log: true })).toEqual(["5", "10", "20"]);
  });
  test("places and values are each other's inverse", () => {
    for (const log of [false, true]) {
      const axis = axisOf([0.2, 50], { count: 4, log });
      expect([axis.place(0.2), axis.place(50)]).toEqual([0, 1]);
      for (const value of [0.3, 1, 17]) expect(axis.value(axis.place(value))).toBeCloseTo(value, 10);
    }
    expect(axisOf([1, 100], { count: 3, log: true }).place(10)).toBeCloseTo(0.5, 12);
  });
});

describe("zoom", () => {
  const whole = { from: 0, to: 100 };
  test("about a point, within the whole axis, and back to all of it", () => {
    const once = zoomed(whole, null, 2, 80);
    expect(once).toEqual({ from: 40, to: 90 });
    expect(zoomed(whole, once, 0.5, 80)).toBeNull();
    expect(zoomed(whole, { from: 90, to: 100 }, 0.5, 100)).toEqual({ from: 80, to: 100 });
  });
  test("a selection in any direction; a click is none", () => {
    expect(selected(whole, 70, 30)).toEqual({ from: 30, to: 70 });
    expect(selected(whole, -20, 30)).toEqual({ from: 0, to: 30 });
    expect(selected(whole, 30, 30.01)).toBeNull();
  });
  test("a line that crosses an edge ends on it", () => {
    const points = [
      [0, 0],
      [10, 10],
      [20, 0],
    ] as const;
    expect(within(points, { from: 5, to: 15 })).toEqual([
      [5, 5],
      [10, 10],
      [15, 5],
    ]);
    expect(within(points, { from: 2, to: 4 })).toEqual([
      [2, 2],
      [4, 4],
    ]);
  });
});

test("the nearest of sorted numbers", () => {
  const sorted = [1, 2, 5, 9];
  for (const at of [-3, 1.4, 1.5, 1.6, 3.5, 3.6, 7, 8, 40]) {
    const best = sorted.reduce((a, b, i) => (Math.abs(b - at) < Math.abs(sorted[a] - at) ? i : a), 0);
    expect(nearest(sorted, at), String(at)).toBe(best);
  }
  expect(nearest([], 1)).toBe(-1);
});

test("smoothing: TensorBoard's unbiased mean; gaps remain; a constant stays constant", () => {
  const points = [1, 1, Number.NaN, 1].map((y, x) => [x, y] as const);
  expect(smooth(points, 0.9).map(([, y]) => y)).toEqual(
    [1, 1, Number.NaN, 1].map((y) => (Number.isNaN(y) ? y : expect.closeTo(y, 12))),
  );
  const [, [, second]] = smooth([[0, 0] as const, [1, 1] as const], 0.6);
  // 0.4 · 1 / (1 − 0.6²)
  expect(second).toBeCloseTo(0.4 / 0.64, 12);
  expect(smooth(points, 0)).toBe(points);
});

describe("an x axis", () => {
  const logs = [
    { step: 2, num_tokens: 100, step_time: 3, epoch: 0.1 },
    { step: 2, eval_loss: 1 },
    { step: 4, num_tokens: 250, step_time: 1, epoch: 0.2 },
  ];
  test("steps, tokens, epochs, and seconds from the steps' durations", () => {
    const of = (by: Parameters<typeof positions>[1]) => [...positions(logs, by)];
    expect(of("step")).toEqual([
      [2, 2],
      [4, 4],
    ]);
    expect(of("tokens")).toEqual([
      [2, 100],
      [4, 250],
    ]);
    expect(of("epoch")).toEqual([
      [2, 0.1],
      [4, 0.2],
    ]);
    expect(of("time")).toEqual([
      [2, 6],
      [4, 8],
    ]);
    expect([...positions([{ step: 1, loss: 2 }], "time")]).toEqual([]);
  });
  test("seconds as logged, else from tokens and their speed", () => {
    expect([...positions([{ step: 1, elapsed: 4, step_time: 9 }], "time")]).toEqual([[1, 4]]);
    const fast = [
      { step: 1, num_tokens: 100, tokens_per_second: 50 },
      { step: 2, num_tokens: 300, tokens_per_second: 100 },
    ];
    expect([...positions(fast, "time")]).toEqual([
      [1, 2],
      [2, 4],
    ]);
  });
  test("moves series", () => {
    const series = [
      {
        name: "loss",
        label: "train",
        points: [
          [2, 7],
          [3, 8],
        ] as const,
      },
    ];
    expect(placed(series, positions(logs, "tokens"))[0].points).toEqual([[100, 7]]);
  });
});

describe("a drawing", () => {
  const points = [1, 0.1, 0, 0.01, 0.001].map((y, x) => [x + 1, y] as const);
  const input: PlotInput = {
    ...{ series: [{ name: "loss", label: "loss", points }], width: 400, height: 200 },
    ...{ x: { kind: "whole", title: "step" }, unit: "nats", log: false, smoothing: 0, window: null },
  };
  const paths = (changes: Partial<PlotInput>, kind = "line s0") =>
    plotOf({ ...input, ...changes }).marks.flatMap((mark) =>
      mark.kind === "path" && mark.class === kind ? [mark.d] : [],
    );

  test("names both axes, and draws the raw line behind the smoothed one", () => {
    const { marks, xs } = plotOf(input);
    const names = marks.flatMap((mark) => (mark.kind === "text" && mark.class === "tick name" ? [mark.text] : []));
    expect(names).toEqual(["nats", "step"]);
    expect(xs).toEqual([1, 2, 3, 4, 5]);
    expect(paths({}, "raw s0")).toEqual([]);
    const [raw, line] = [paths({ smoothing: 0.9 }, "raw s0")[0], paths({ smoothing: 0.9 })[0]];
    expect(raw).toBe(paths({})[0]);
    expect(line).not.toBe(raw);
  });
  test("a logarithmic axis: equal factors are equal distances; values of 0 become a gap and are counted", () => {
    const { hidden, yAt } = plotOf({ ...input, log: true });
    expect(hidden).toBe(1);
    expect(yAt(0.1) - yAt(1)).toBeCloseTo(yAt(0.01) - yAt(0.1), 9);
    expect(paths({ log: true })[0].match(/M/g)).toHaveLength(2);
    const flat = [{ ...input.series[0], points: [[1, 0] as const] }];
    expect(plotOf({ ...input, series: flat, log: true }).y.log).toBe(false);
  });
  test("a window keeps its points and stays within the area", () => {
    const { xs, area, marks, valueAt, xAt } = plotOf({ ...input, window: { from: 1.5, to: 3.5 } });
    expect(xs).toEqual([2, 3]);
    expect(valueAt(xAt(2.2))).toBeCloseTo(2.2, 9);
    for (const mark of marks.filter(({ kind }) => kind === "dot")) {
      if (mark.kind === "dot") expect(mark.x >= area.left - 0.1 && mark.x <= area.right + 0.1).toBe(true);
    }
  });
  test("without data it has axes, and every coordinate is a number", () => {
    for (const series of [[], [{ name: "a", label: "a", points: [[1, Number.NaN] as const] }]]) {
      for (const mark of plotOf({ ...input, series }).marks)
        for (const value of Object.values(mark)) if (typeof value === "number") expect(value).not.toBeNaN();
    }
  });
});

test("CSV: a row per log, a column per name; quotes; no formulas", () => {
  const logs = [
    { step: 1, loss: 0.5 },
    { step: 1, eval_loss: Number.NaN },
  ];
  expect(logsCsv(logs)).toBe("step,loss,eval_loss\r\n1,0.5,\r\n1,,\r\n");
  const series = [
    { name: "a", label: 'say "x", y', points: [[2, 1] as const] },
    { name: "b", label: "=1+1", points: [[1, 3] as const] },
  ];
  expect(seriesCsv(series, "step")).toBe(`step,"say ""x"", y",'=1+1\r\n1,,3\r\n2,1,\r\n`);
});

test("any logged name makes a chart", () => {
  const logs = [{ step: 1, "completions/mean_length": 4, note: "text" }];
  expect(loggedNames(logs)).toEqual(["completions/mean_length"]);
  const chart = namedChart("completions/mean_length");
  expect([chart.unit, chart.series(logs)[0].points]).toEqual(["tokens", [[1, 4]]]);
});

test("Wilson's interval: its ends are the shares that are 1.96 standard errors away; a width at 0 and at all", () => {
  for (const [right, total] of [
    [8, 40],
    [1, 3],
    [39, 40],
  ]) {
    const { low, high } = wilson(right, total);
    for (const end of [low, high]) {
      const distance = Math.abs(right / total - end) / Math.sqrt((end * (1 - end)) / total);
      expect(distance).toBeCloseTo(1.959964, 5);
    }
    expect(low < right / total && right / total < high).toBe(true);
  }
  expect(wilson(0, 40).low).toBe(0);
  expect(wilson(0, 40).high).toBeGreaterThan(0.05);
  expect(wilson(40, 40).low).toBeCloseTo(1 - wilson(0, 40).high, 12);
  expect(wilson(0, 0)).toEqual({ low: 0, high: 1 });
});
