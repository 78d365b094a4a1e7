import { describe, expect, test } from "vitest";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { formatRecipeYaml } from "../../src/recipe/yaml.ts";
import { renderChart } from "../../src/report/chart.ts";
import { extent, thin, ticks } from "../../src/report/scale.ts";
import type { Completion } from "../../src/report/text.ts";
import { renderReport } from "../../src/report/training.ts";

const evil = `"><img src=x onerror=alert(1)><script>alert('&')</script>`;
const logs = [
  {
    step: 1,
    loss: 2.5,
    learning_rate: 1e-4,
    grad_norm: 1,
    mean_token_accuracy: 0.3,
    entropy: 2,
    tokens_per_second: 90,
  },
  {
    step: 2,
    loss: 1.25,
    learning_rate: 5e-5,
    grad_norm: 0.5,
    mean_token_accuracy: 0.6,
    entropy: 1,
    tokens_per_second: 95,
  },
  { step: 2, eval_loss: 1.5 },
];
const recipe = formatRecipeYaml(parseRecipe({ system_prompt: "<b>&" }, "sft").recipe, "sft");

describe("renderReport", () => {
  test("draws a curve for every measure and shows last values, environment, memory and recipe", () => {
    const html = renderReport({
      title: "run",
      recipe,
      logs,
      environment: { adapter: "llvmpipe" },
      memory: { peak: "1.31 GiB" },
      summary: { train_runtime: 12.5 },
    });
    expect(html.match(/<svg /g)).toHaveLength(6);
    for (const name of [
      "Loss",
      "Learning rate",
      "Gradient norm",
      "Mean token accuracy",
      "Entropy",
      "Tokens per second",
    ]) {
      expect(html).toContain(`<strong>${name}`);
    }
    expect(html).toContain('<th scope="row">eval_loss</th><td>1.5</td>');
    expect(html).toContain('<th scope="row">loss</th><td>1.25</td>');
    expect(html).toContain("llvmpipe");
    expect(html).toContain("1.31 GiB");
    expect(html).toContain("system_prompt: &lt;b&gt;&amp;");
  });

  test("escapes text from all sources", () => {
    const html = renderReport({
      title: evil,
      subtitle: evil,
      recipe: evil,
      logs: [{ step: 1, loss: 1, [evil]: evil }],
      environment: { [evil]: evil },
      memory: { [evil]: [evil] },
      summary: { [evil]: { a: evil } },
    });
    expect(html).not.toContain("<img");
    expect(html).not.toContain("alert('");
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html.match(/<\/script>/g)).toHaveLength(1);
  });

  test("loads nothing from outside, and forbids it", () => {
    const html = renderReport({ title: "run", recipe, logs });
    expect(html).not.toMatch(/https?:\/\/|\/\/[a-z]|@import|url\(|\bsrc=|<link|<iframe/i);
    expect(html).toMatch(/Content-Security-Policy" content="default-src 'none'; .*script-src 'sha256-[\w+/=]{44}'"/);
    expect(html).toContain("prefers-color-scheme:dark");
    expect(html).toContain('name="viewport"');
  });

  test("stands without a single log, and with losses that were not finite", () => {
    expect(renderReport({ title: "run", recipe, logs: [] })).toContain("No logged steps.");
    const html = renderReport({
      title: "run",
      recipe,
      logs: [
        { step: 1, loss: null },
        { step: 2, loss: 3 },
      ],
    });
    expect(html).not.toMatch(/NaN|Infinity|undefined/);
    expect(html).toContain("<svg ");
  });
});

describe("a GRPO run's report", () => {
  const log = (step: number) => ({
    step,
    reward: step / 10,
    reward_std: 0.2,
    frac_reward_zero_std: 0.5,
    "rewards/xmlcount_reward_func/mean": 0.1,
    "rewards/xmlcount_reward_func/std": 0.1,
    "rewards/mine/mean": 0.3,
    kl: 0.001,
    "clip_ratio/region_mean": 0,
    "completions/mean_length": 80,
    "completions/min_length": 8,
    "completions/max_length": 200,
    "completions/clipped_ratio": 0.25,
    loss: 0.001,
    entropy: 0.5,
    learning_rate: 1e-6,
  });
  const completion: Completion = {
    step: 1,
    prompt: "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n",
    completion: "two",
    rewards: { xmlcount_reward_func: 0.125, mine: null },
    advantage: -0.5,
    finish_reason: "length",
    length: 16,
  };
  const batch = (step: number, completions = [completion]) => ({ step, file: "f", completions });

  test("draws rewards, each function's in one chart, lengths, clipping and KL; reward comes first", () => {
    const html = renderReport({ title: "run", recipe, logs: [log(1), log(2), { step: 2, eval_reward: 0.3 }] });
    const titles = [...html.matchAll(/<strong>([^<]+)/g)].map(([, title]) => title);
    expect(titles).toEqual([
      "Reward",
      "Reward by function",
      "Loss",
      "Completion length",
      "Share of completions cut off",
      "Share of prompts whose rewards are all equal",
      "KL to the reference",
      "Share of tokens clipped",
      "Entropy",
      "Learning rate",
    ]);
    expect(html).toMatch(/title="rewards\/xmlcount_reward_func\/mean"><i><\/i>xmlcount <b/);
    expect(html).toMatch(/title="rewards\/mine\/mean"><i><\/i>mine <b/);
    expect(html).toMatch(/<dt>reward<\/dt><dd>0\.2<\/dd>/);
  });

  test("shows completions with rewards, advantages and what was cut off, under their question", () => {
    const html = renderReport({ title: "run", recipe, logs: [log(1)], completions: [batch(1), batch(5), batch(9)] });
    expect(html).toContain("The first, the middle and the last generation batch");
    expect(html.match(/<h3>Step \d/g)).toEqual(["<h3>Step 1", "<h3>Step 5", "<h3>Step 9"]);
    expect(html).toContain("<summary>How many?</summary>");
    expect(html).toContain(
      '<div class="text">two</div></td><td>0.125</td><td>—</td><td class="down">\u22120.50</td><td>16<small>cut off</small></td>',
    );
    expect(renderReport({ title: "run", recipe, logs: [log(1)] })).not.toContain("Completions</h2>");
  });

  test("folds long texts, and shows a few of many completions and prompts", () => {
    const long = "word ".repeat(500);
    const many = Array.from({ length: 60 }, (_, i) => ({
      ...completion,
      prompt: `q${Math.floor(i / 20)}`,
      completion: long,
    }));
    const html = renderReport({ title: "run", recipe, logs: [log(1)], completions: [batch(1, many)] });
    expect(html).toContain("16 of 60 completions");
    expect(html.match(/<summary class="text">/g)).toHaveLength(16);
    expect(html.match(/<article>/g)).toHaveLength(2);
    const [, shown] = /<summary class="text">([^<]+)</.exec(html)!;
    expect(shown.length).toBeLessThan(410);
    expect(shown).toMatch(/…$/);
  });

  test("escapes a model's text in all places", () => {
    const rotten = {
      ...completion,
      prompt: `<|im_start|>user\n${evil.repeat(30)}`,
      completion: evil.repeat(30),
      rewards: { [evil]: 1 },
      finish_reason: evil,
    };
    const html = renderReport({
      title: "run",
      recipe,
      logs: [{ ...log(1), [`rewards/${evil}/mean`]: 1 }],
      completions: [batch(1, [rotten, { ...rotten, completion: evil, prompt: evil }])],
    });
    expect(html).not.toContain("<img");
    expect(html).not.toContain("alert('");
    expect(html.match(/<script/g)).toHaveLength(1);
  });
});

describe("charts", () => {
  const draw = (points: [number, number][]) =>
    renderChart({ title: "t", series: [{ name: "n", label: "n", points }], xLabel: "step" });

  test("one point, a flat line, tiny and huge values give finite coordinates inside the picture", () => {
    for (const points of [
      [[1, 0]],
      [
        [1, 5],
        [2, 5],
      ],
      [
        [1, -3],
        [2, -3],
      ],
      [
        [1, 1e-9],
        [2, 2e-9],
      ],
      [
        [1, 1e12],
        [1e6, 3e12],
      ],
      [],
    ] as [number, number][][]) {
      const svg = draw(points);
      expect(svg).not.toMatch(/NaN|Infinity|undefined/);
      for (const [, at] of svg.matchAll(/ c?[xy][12]?="(-?[\d.]+)"/g)) {
        expect(Number(at)).toBeGreaterThanOrEqual(0);
        expect(Number(at)).toBeLessThanOrEqual(520);
      }
    }
  });

  test("a line breaks at a point that is not finite", () => {
    const d =
      /class="line s0" d="([^"]*)"/.exec(
        draw([
          [1, 1],
          [2, Number.NaN],
          [3, 2],
          [4, 3],
        ]),
      )?.[1] ?? "";
    expect(d.match(/M/g)).toHaveLength(2);
    expect(d.match(/L/g)).toHaveLength(1);
  });

  test("ticks are round and in range; axes extend to a nearby zero", () => {
    expect(ticks(0, 1, 4)).toEqual([0, 0.5, 1]);
    expect(ticks(0.1, 0.35, 4)).toEqual([0.1, 0.2, 0.3]);
    expect(ticks(3, 3, 4)).toEqual([3]);
    expect(extent([0.1, 2])[0]).toBe(0);
    expect(extent([])).toEqual([0, 1]);
    expect(extent([100, 101])[0]).toBeGreaterThan(99);
  });

  test("long runs are thinned, spikes, gaps and order kept", () => {
    const points = Array.from({ length: 50_000 }, (_, i): [number, number] => [i, i === 31_234 ? 99 : Math.sin(i)]);
    points[777] = [777, Number.NaN];
    const kept = thin(points);
    expect(kept.length).toBeLessThanOrEqual(1300);
    expect(kept.some(([, y]) => y === 99)).toBe(true);
    expect(kept.some(([x, y]) => x === 777 && Number.isNaN(y))).toBe(true);
    expect(kept.every(([x], i) => i === 0 || x > kept[i - 1][0])).toBe(true);
  });
});
