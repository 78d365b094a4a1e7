import { view } from "../../gpu/tensor.ts";
import type { CaseRun, KernelCase } from "../check.ts";
import { type DeltaHeads, deltaWidth } from "./heads.ts";
import { chunkTable, deltaRule, deltaRuleBackward, deltaRuleBackwardReference, deltaRuleReference } from "./rule.ts";
import { deltaFill, deltaStep } from "./step.ts";

/** How much a token's state falls, and how much of a token is written. */
type Gates = "usual" | "kept" | "forgotten" | "mixed";

/** [g, beta] of a token. */
function gateOf(kind: Gates, random: () => number): [number, number] {
  const u = (random() + 1) / 2;
  switch (kind) {
    case "usual":
      return [-2 * u * u, (random() + 1) / 2];
    case "kept":
      return [0, u < 0.5 ? 0 : 1];
    case "forgotten":
      return [-80, u < 0.5 ? 0 : 1];
    case "mixed":
      return [u < 0.1 ? -80 : u < 0.3 ? 0 : -0.3 * u, random() < -0.6 ? 0 : random() > 0.6 ? 1 : (random() + 1) / 2];
  }
}

interface RuleCase {
  lengths: readonly number[];
  k: number;
  v: number;
  dk: number;
  dv: number;
  gates: Gates;
}

/** Few sizes of heads: each is a set of kernels to compile. These are also the golden model's. */
const SMALL = { k: 2, v: 4, dk: 16, dv: 16 };

const CASES: readonly RuleCase[] = [
  { ...SMALL, lengths: [1], gates: "usual" },
  { ...SMALL, lengths: [63], gates: "mixed" },
  { ...SMALL, lengths: [64], gates: "kept" },
  { ...SMALL, lengths: [65], gates: "forgotten" },
  { ...SMALL, lengths: [130], gates: "mixed" },
  { ...SMALL, lengths: [513], gates: "usual" },
  // keys of two rounds and values of two slices, the second of each in part
  { lengths: [3, 1, 70, 129, 2], k: 2, v: 4, dk: 72, dv: 20, gates: "usual" },
  { lengths: [5, 130], k: 1, v: 2, dk: 128, dv: 128, gates: "mixed" },
];

const title = ({ lengths, k, v, dk, dv, gates }: RuleCase) =>
  `lengths ${lengths.join("+")}, ${v} heads of ${dv} over ${k} of ${dk}, ${gates}`;

/** Inputs of a case: keys of unit length, as the norm before the rule leaves them. */
function inputsOf(check: CaseRun, { lengths, k, v, dk, dv, gates }: RuleCase) {
  const heads: DeltaHeads = { num_key_heads: k, num_value_heads: v, key_head_dim: dk, value_head_dim: dv };
  const starts = [0];
  for (const length of lengths) starts.push(starts.at(-1)! + length);
  const tokens = starts.at(-1)!;
  const width = deltaWidth(heads);
  const values = Float32Array.from({ length: tokens * width }, () => check.random());
  for (let t = 0; t < tokens; t++) {
    for (let head = 0; head < 2 * k; head++) {
      const row = values.subarray(t * width + head * dk, t * width + (head + 1) * dk);
      const size = Math.hypot(...row);
      row.forEach((value, c) => {
        row[c] = value / size;
      });
    }
  }
  const u = check.given(values, [tokens, width], "u");
  const gate = Array.from({ length: tokens * v }, () => gateOf(gates, () => check.random())).flat();
  // a state that keeps nothing has no scale to compare with: the last token of each sequence is written
  for (const end of starts.slice(1)) for (let head = 0; head < v; head++) gate[2 * ((end - 1) * v + head) + 1] = 1;
  const gateInput = check.given(Float32Array.from(gate), [tokens, v, 2], "gates");
  const { words, ...chunks } = chunkTable(starts);
  const table = view(check.integers([...words], "table"), [words.length / 4, 4]);
  /** columns of one head of one sequence */
  const cut = (from: Float64Array, s: number, stride: number, first: number, count: number) =>
    Float64Array.from({ length: (starts[s + 1] - starts[s]) * count }, (_, i) => {
      return from[(starts[s] + Math.floor(i / count)) * stride + first + (i % count)];
    });
  const of = (s: number, head: number) => {
    const key = Math.floor(head / (v / k)) * dk;
    return {
      q: cut(u.values, s, width, key, dk),
      k: cut(u.values, s, width, k * dk + key, dk),
      v: cut(u.values, s, width, 2 * k * dk + head * dv, dv),
      g: cut(gateInput.values, s, 2 * v, 2 * head, 1),
      beta: cut(gateInput.values, s, 2 * v, 2 * head + 1, 1),
    };
  };
  const input = { u: u.tensor, gates: gateInput.tensor, chunks: { ...chunks, table } };
  return { heads, starts, tokens, width, input, u, gates: gateInput, cut, of };
}

/** Puts columns of one head of one sequence where they belong. */
function put(
  into: Float64Array,
  from: Float64Array,
  first: number,
  stride: number,
  column: number,
  count: number,
): void {
  from.forEach((value, i) => {
    into[(first + Math.floor(i / count)) * stride + column + (i % count)] = value;
  });
}

/** What the chunked rule is held to, forwards and backwards, and its last states. */
export const deltaRuleCases: KernelCase[] = CASES.map((item) => ({
  kernel: "deltaRule",
  name: `${title(item)}, backward`,
  tolerance: 1e-5,
  run(check) {
    const { lengths, k, v, dk, dv } = item;
    const { heads, starts, tokens, width, input, cut, of } = inputsOf(check, item);
    const dout = check.input([tokens, v * dv], "dout");
    const du = check.input([tokens, width], "du");
    const ends = check.record.empty([lengths.length, v, dk, dv], "f32", "ends");
    const { o } = deltaRule(check.record, input, heads, { ends });
    const again = deltaRule(check.record, input, heads, { keep: true });
    const back = deltaRuleBackward(check.record, input, again.kept, { dout: dout.tensor, du: du.tensor }, heads);
    const want = {
      o: new Float64Array(tokens * v * dv),
      ends: new Float64Array(lengths.length * v * dk * dv),
      du: du.values.slice(),
      dg: new Float64Array(tokens * v),
      dbeta: new Float64Array(tokens * v),
      parts: new Float64Array(tokens * v * 2 * dk),
    };
    for (let s = 0; s < lengths.length; s++) {
      for (let head = 0; head < v; head++) {
        const one = of(s, head);
        const made = deltaRuleReference(one);
        put(want.o, made.o, starts[s], v * dv, head * dv, dv);
        want.ends.set(made.state, (s * v + head) * dk * dv);
        const grads = deltaRuleBackwardReference(one, cut(dout.values, s, v * dv, head * dv, dv));
        put(want.du, grads.v, starts[s], width, 2 * k * dk + head * dv, dv);
        put(want.parts, grads.q, starts[s], 2 * v * dk, 2 * head * dk, dk);
        put(want.parts, grads.k, starts[s], 2 * v * dk, (2 * head + 1) * dk, dk);
        put(want.dg, grads.g, starts[s], v, head, 1);
        put(want.dbeta, grads.beta, starts[s], v, head, 1);
      }
    }
    check.compare("o", o, want.o);
    check.compare("o, states kept", again.o, want.o);
    check.compare("ends", ends, want.ends);
    check.compare("d v", du.tensor, want.du);
    check.compare("d q, d k", back.parts, want.parts);
    check.compare(
      "d gates",
      back.dgates,
      Float64Array.from({ length: 2 * tokens * v }, (_, i) => (i % 2 === 0 ? want.dg : want.dbeta)[i >> 1]),
    );
  },
}));

/** What single tokens are held to: the last of each sequence, after all before it went through in chunks. */
export const deltaStepCases: KernelCase[] = CASES.filter(({ lengths }) => lengths[0] < 500).map((item) => ({
  kernel: "deltaStep",
  name: title(item),
  tolerance: 1e-5,
  run(check) {
    const { lengths, v, dk, dv } = item;
    const { heads, starts, width, u, gates, of } = inputsOf(check, item);
    const slotOf = lengths.map((_, s) => lengths.length - s);
    const states = check.input([lengths.length + 1, v, dk, dv], "states");
    const before = lengths.map((length) => length - 1);
    const rowsOf = (s: number, stride: number, from: Float64Array, tokens: number) =>
      from.subarray(starts[s] * stride, (starts[s] + tokens) * stride);
    const joined = (stride: number, from: Float64Array) =>
      Float32Array.from(before.flatMap((length, s) => [...rowsOf(s, stride, from, length)]));
    const prefilled = before.reduce((sum, length) => sum + length, 0);
    if (prefilled > 0) {
      const cut = [0];
      for (const length of before) cut.push(cut.at(-1)! + length);
      const { words, ...chunks } = chunkTable(cut);
      const table = view(check.integers([...words], "before.table"), [words.length / 4, 4]);
      const early = {
        u: check.given(joined(width, u.values), [prefilled, width], "before.u").tensor,
        gates: check.given(joined(2 * v, gates.values), [prefilled, v, 2], "before.gates").tensor,
        chunks: { ...chunks, table },
      };
      const ends = check.record.empty([lengths.length, v, dk, dv], "f32", "ends");
      deltaRule(check.record, early, heads, { ends });
      const list = before.flatMap((length, s) => (length > 0 ? [s, cut[s + 1] - 1, slotOf[s]] : []));
      deltaFill(check.record, ends, view(check.integers(list, "list"), [list.length / 3, 3]), states.tensor);
    }
    const last = (stride: number, from: Float64Array) =>
      Float32Array.from(
        lengths.flatMap((length, s) => [
          ...from.subarray((starts[s] + length - 1) * stride, (starts[s] + length) * stride),
        ]),
      );
    const rows = { slots: check.integers(slotOf, "slots"), positions: check.integers(before, "positions") };
    const step = {
      u: check.given(last(width, u.values), [lengths.length, width], "step.u").tensor,
      gates: check.given(last(2 * v, gates.values), [lengths.length, v, 2], "step.gates").tensor,
    };
    const o = deltaStep(check.record, step, heads, rows, states.tensor);
    const [want, wantStates] = [new Float64Array(lengths.length * v * dv), states.values.slice()];
    lengths.forEach((length, s) => {
      for (let head = 0; head < v; head++) {
        const made = deltaRuleReference(of(s, head));
        want.set(made.o.subarray((length - 1) * dv), (s * v + head) * dv);
        wantStates.set(made.state, (slotOf[s] * v + head) * dk * dv);
      }
    });
    check.compare("o", o, want);
    check.compare("states", states.tensor, wantStates);
  },
}));
