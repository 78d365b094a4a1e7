import { describe, expect, test } from "vitest";
import { barLine, Progress } from "../../src/cli/terminal/progress.ts";

/** A stream that remembers, and a clock that is told. */
function stage(isTTY: boolean, columns = 80, noColor = false, start = 0) {
  const state = { text: "", ms: 0 };
  const stream = {
    isTTY,
    columns,
    write(text: string) {
      state.text += text;
    },
  };
  const progress = new Progress({ stream, total: 100, start, now: () => state.ms, noColor });
  const run = (from: number, to: number, ms: number) => {
    for (let step = from; step <= to; step++) {
      state.ms += ms;
      progress.step({ step, tokens: 256, loss: 5 / step });
    }
  };
  return { state, stream, progress, run };
}
const esc = "\u001b";

describe("off a terminal", () => {
  test("only logs are written, each a plain line with names, numbers and time left", () => {
    const { state, progress, run } = stage(false);
    run(1, 10, 2000);
    progress.log({ step: 10, learning_rate: 2e-5, loss: 0.5, grad_norm: 1.25, epoch: 0.1 });
    progress.done();
    expect(state.text).toBe("step 10/100   loss 0.5    grad_norm 1.25   lr 2e-5   3 min 00 s left\n");
  });
});

test("a GRPO log is one line: reward first, then each function's by its short name, and not all that there is", () => {
  const { state, progress, run } = stage(false);
  run(1, 10, 2000);
  progress.log({
    step: 10,
    loss: 0.001,
    grad_norm: 0.5,
    "completions/mean_length": 80,
    "completions/min_length": 3,
    "rewards/int_reward_func/mean": 0.25,
    "rewards/int_reward_func/std": 0.1,
    "rewards/mine/mean": 2,
    reward: 1.5,
    reward_std: 0.4,
    "clip_ratio/low_mean": 0,
    "clip_ratio/region_mean": 0,
  });
  expect(state.text).toBe("step 10/100   reward 1.5    int 0.25   loss 0.001  length 80     3 min 00 s left\n");
});

test("columns stay aligned, and lines fit 80 columns, or the terminal's", () => {
  const lines = (columns: number, tty: boolean) => {
    const { state, progress, run } = stage(tty, columns, true);
    run(1, 1, 2000);
    for (const step of [1, 10, 100]) {
      const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`metric_${i}`, i]));
      progress.log({
        step,
        loss: 4 / step,
        grad_norm: step * 1.25,
        learning_rate: 1e-5,
        mean_token_accuracy: 0.123,
        ...many,
      });
    }
    progress.done();
    return state.text.split(/[\r\n]+/).filter((line) => line.startsWith("step "));
  };
  for (const [columns, tty, most] of [
    [200, false, 80],
    [60, true, 60],
    [140, true, 140],
  ] as const) {
    const all = lines(columns, tty);
    expect(all).toHaveLength(3);
    for (const line of all) expect(line.length).toBeLessThanOrEqual(most);
    const places = all.map((line) => ["loss", "accuracy", "grad_norm"].map((name) => line.indexOf(name)));
    expect(places[1]).toEqual(places[0]);
    expect(places[2]).toEqual(places[0]);
    expect(all[0].length).toBeGreaterThan(most - 25);
  }
});

test("a terminal is redrawn at most five times a second", () => {
  const { state, run } = stage(true, 80, true);
  run(1, 50, 20); // a second
  expect(state.text.split("\r").length - 1).toBeLessThanOrEqual(6);
  expect(state.text.split("\r").length - 1).toBeGreaterThanOrEqual(4);
});

describe("on a terminal", () => {
  test("a GRPO step shows reward and length, and how far its completions are", () => {
    const { state, progress } = stage(true, 140, true);
    state.ms += 500;
    progress.doing("completions 3/16");
    expect(state.text).toMatch(/[╌]+ {2}0\/100 {2}completions 3\/16$/);
    state.ms += 500;
    progress.step({ step: 1, tokens: 256, loss: 0.01, reward: 0.75, completion_length: 61.4 });
    const last = () => state.text.split("\r").at(-1) ?? "";
    expect(last()).toContain("1/100  reward 0.75  loss 0.01  1 min 39 s left  256 tok/s  61 tokens per completion");
    state.ms += 1000;
    progress.step({ step: 2, tokens: 256, loss: 0.01, reward: null, completion_length: null });
    expect(last()).toContain("2/100  reward 0.75");
  });

  test("one line is redrawn with bar, loss, rate and time left, and wiped at the end", () => {
    const { state, progress, run } = stage(true, 80, true);
    run(1, 50, 1000);
    expect(state.text).not.toContain("\n");
    const last = state.text.split("\r").at(-1) ?? "";
    expect(last).toContain("50/100  loss 0.1  50 s left  256 tok/s");
    expect(last).toMatch(/^━+╸?╌+ /);
    progress.done();
    expect(state.text.endsWith("\r")).toBe(true);
  });

  test("a log goes above the bar", () => {
    const { state, progress, run } = stage(true, 80, true);
    run(1, 3, 1000);
    state.text = "";
    progress.log({ step: 3, loss: 2 });
    expect(state.text).toMatch(/^\r +\rstep 3\/100 {4}loss 2\n\r[━╸╌]+ {2}3\/100/);
  });

  test("redraws are spared when steps are quick, but not the last", () => {
    const { state, run } = stage(true, 80, true);
    run(1, 99, 1);
    expect(state.text.split("\r").length - 1).toBeLessThanOrEqual(2);
    run(100, 100, 1);
    expect(state.text).toContain("100/100");
  });

  test("NO_COLOR leaves no escape code; without it colour is closed again", () => {
    const plain = stage(true, 80, true);
    plain.run(1, 20, 500);
    plain.progress.log({ step: 20, loss: 1 });
    expect(plain.state.text).not.toContain(esc);
    const coloured = stage(true);
    coloured.run(1, 20, 500);
    const opened = coloured.state.text.replaceAll(`${esc}[36m`, `${esc}[2m`).split(`${esc}[2m`).length;
    expect(opened).toBeGreaterThan(1);
    expect(coloured.state.text.split(`${esc}[0m`).length).toBe(opened);
  });

  test.each([10, 20, 30, 40, 60, 80, 200])("at %i columns nothing wraps", (columns) => {
    const { state, run } = stage(true, columns, true);
    run(1, 30, 70_000);
    for (const line of state.text.split("\r")) expect(line.length).toBeLessThanOrEqual(Math.max(10, columns - 1));
  });
});

test("a resumed run's pace counts its own steps only, and rest() leaves an evaluation out", () => {
  const { state, progress, run } = stage(false, 80, true, 50);
  run(51, 60, 1000);
  state.ms += 60_000;
  progress.rest();
  run(61, 70, 1000);
  expect(progress.secondsLeft).toBeCloseTo(30, 6);
  expect(progress.tokensPerSecond).toBeCloseTo(256, 6);
});

test("barLine fills by share and never passes its room", () => {
  expect(barLine(["5/10"], 0.5, 20)).toBe("━━━━━━━╌╌╌╌╌╌╌  5/10");
  expect(barLine(["0/0"], Number.NaN, 20)).toHaveLength(20);
  expect(barLine(["123456789/123456789"], 1, 10)).toBe("123456789/");
});
