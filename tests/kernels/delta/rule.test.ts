import { describe, expect, it } from "vitest";
import { view } from "../../../src/gpu/tensor.ts";
import { gradientError, type KernelCase } from "../../../src/kernels/check.ts";
import { deltaWidth } from "../../../src/kernels/delta/heads.ts";
import { deltaRuleCases, deltaStepCases } from "../../../src/kernels/delta/rule.cases.ts";
import {
  chunkTable,
  deltaRule,
  deltaRuleBackward,
  deltaRuleBackwardReference,
  deltaRuleReference,
} from "../../../src/kernels/delta/rule.ts";
import { describeCases, useGpu } from "../harness.ts";

// rule.slow.ts has the published models' heads, whose kernels take ten seconds to compile
const short = ({ name }: KernelCase) => !name.includes("of 128");
describeCases("delta_rule", deltaRuleCases.filter(short));
describeCases("delta_step", deltaStepCases.filter(short));

it("the reference gradient agrees with finite differences", () => {
  const random = (n: number, seed: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + seed));
  const [tokens, dk, dv] = [9, 4, 3];
  const input = {
    q: random(tokens * dk, 1),
    k: random(tokens * dk, 2).map((v) => v / 2),
    v: random(tokens * dv, 3),
    g: random(tokens, 4).map((v) => -Math.abs(v)),
    beta: random(tokens, 5).map((v) => (v + 1) / 2),
  };
  const dout = random(tokens * dv, 6);
  const back = deltaRuleBackwardReference(input, dout);
  for (const name of ["q", "k", "v", "g", "beta"] as const) {
    const f = (moved: Float64Array) =>
      deltaRuleReference({ ...input, [name]: moved }).o.reduce((sum, v, i) => sum + v * dout[i], 0);
    expect(gradientError(f, input[name], back[name]), name).toBeLessThan(1e-7);
  }
});

describe("chunks", () => {
  it("begin anew with each sequence, and know the states between them", () => {
    const { words, ...counts } = chunkTable([0, 64, 65, 194]);
    expect(counts).toEqual({ chunks: 5, sequences: 3, kept: 2 });
    const none = 0xffffffff;
    expect([...words]).toEqual([
      ...[0, 64, none, none],
      ...[64, 1, none, none],
      ...[65, 64, none, 0],
      ...[129, 64, 0, 1],
      ...[193, 1, 1, none],
      ...[0, 1, 0, 0],
      ...[1, 1, 0, 0],
      ...[2, 3, 0, 0],
    ]);
  });
});

describe("a sequence's numbers", () => {
  const gpu = useGpu();
  const heads = { num_key_heads: 2, num_value_heads: 4, key_head_dim: 16, value_head_dim: 16 };
  const width = deltaWidth(heads);

  /** o, and gradients of values, queries and keys, and gates, of some sequences of a fixed stock. */
  async function run(lengths: readonly number[], from: readonly number[]) {
    const noise = (t: number, c: number, salt: number) => Math.sin(12.9898 * t + 78.233 * c + salt) * 0.3;
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1)! + length);
    const tokens = starts.at(-1)!;
    const rows = lengths.flatMap((length, s) => Array.from({ length }, (_, t) => from[s] + t));
    const data = (columns: number, salt: number, change = (v: number, _: number) => v) =>
      Float32Array.from(rows.flatMap((t) => Array.from({ length: columns }, (_, c) => change(noise(t, c, salt), c))));
    const record = gpu().recorder();
    const reads = record.scope(() => {
      const { words, ...chunks } = chunkTable(starts);
      const table = view(record.upload(words, [words.length], "table"), [words.length / 4, 4]);
      const input = {
        u: record.upload(data(width, 1), [tokens, width], "u"),
        gates: record.upload(
          data(8, 2, (v, c) => (c % 2 === 0 ? -Math.abs(v) : Math.abs(v))),
          [tokens, 4, 2],
          "gates",
        ),
        chunks: { ...chunks, table },
      };
      const dout = record.upload(data(64, 3), [tokens, 64], "dout");
      const du = record.zeros([tokens, width], "f32", "du");
      const { o, kept } = deltaRule(record, input, heads, { keep: true });
      const { parts, dgates } = deltaRuleBackward(record, input, kept, { dout, du }, heads);
      return [o, du, parts, dgates].map((tensor) => record.read(tensor));
    });
    record.submit();
    return Promise.all(reads.map(async (read) => new Uint32Array(await read)));
  }

  it("do not depend on who shares its batch, to the bit", async () => {
    const alone = await run([130], [40]);
    const among = await run([3, 130, 70], [900, 40, 500]);
    alone.forEach((words, i) => {
      const each = words.length / 130;
      expect(among[i].slice(3 * each, 133 * each)).toEqual(words);
    });
  });
});
