import { view } from "../../gpu/tensor.ts";
import type { KernelCase } from "../check.ts";
import { rotaryReference } from "../rotary/rotary.ts";
import { attention, attentionBackward, attentionForms, attentionReference, spansOf } from "./attention.ts";

/** Sequence lengths, query heads, key heads, head_dim: one token, tile edges, several sequences in a tile, head sizes of real models. */
interface AttentionCase {
  lengths: number[];
  h: number;
  g: number;
  d: number;
  /** elements of a head that a rotation turns; default: all */
  turned?: number;
  /** default true */
  causal?: boolean;
  /** on CPU adapters, too, in the forms of other adapters, of which a kernel takes those 4 to 10 s to compile */
  allForms?: true;
}

const CASES: readonly AttentionCase[] = [
  { lengths: [1], h: 1, g: 1, d: 4 },
  { lengths: [63, 1, 2, 65], h: 5, g: 1, d: 12 },
  { lengths: [33, 150], h: 4, g: 2, d: 24, allForms: true },
  { lengths: [40, 31], h: 14, g: 2, d: 64 },
  { lengths: [70], h: 4, g: 2, d: 128 },
  { lengths: [5, 37], h: 2, g: 1, d: 32, turned: 16 },
  { lengths: [67, 2], h: 4, g: 1, d: 256, turned: 64 },
  { lengths: [63, 1, 2, 150], h: 3, g: 3, d: 24, causal: false, allForms: true },
  { lengths: [33, 150], h: 4, g: 2, d: 24, causal: false },
  { lengths: [63, 1, 2, 65], h: 3, g: 3, d: 16, causal: false },
];

/** What attention and its gradients are held to. */
export const attentionCases = casesIn(({ allForms = false }) => allForms);

/** The same in every form for every shape, also on CPU adapters: three minutes there. */
export const attentionFormCases = (): KernelCase[] => casesIn(() => true);

/** @param others whether a case runs in the forms of other adapters too */
function casesIn(others: (item: AttentionCase) => boolean): KernelCase[] {
  return CASES.map((item, n) => caseOf(item, n, others(item)));
}

function caseOf(item: AttentionCase, n: number, others: boolean): KernelCase {
  const { lengths, h, g, d, turned = d, causal = true } = item;
  return {
    kernel: "attention",
    name: `lengths ${lengths.join("+")}, ${h} heads over ${g} of ${d}${n % 2 || turned < d ? ", rotated back" : ""}${turned < d ? `, ${turned} of a head` : ""}${causal ? "" : ", not causal"}`,
    tolerance: 1e-5,
    run(check) {
      const even = n % 2 === 0 && turned === d;
      const starts = [0];
      for (const n of lengths) starts.push(starts.at(-1)! + n);
      const tokens = starts.at(-1)!;
      const heads = { num_attention_heads: h, num_key_value_heads: g, head_dim: d, causal };
      const width = (h + 2 * g) * d;
      const qkv = check.input([tokens, width], "qkv", 3);
      const dout = check.input([tokens, h * d], "dout");
      const rows = spansOf(starts);
      const spans = view(check.integers([...rows], "spans"), [tokens, 2]);
      const [q, k, v] = queriesKeysValues(qkv.values, tokens, { h, g, d });
      const want = attentionReference(q, k, v, rows, heads, dout.values);
      // every second case undoes a rotation, with positions that restart in each sequence
      const positions = [...rows.keys()].slice(0, tokens).map((t) => t - rows[2 * t]);
      const table = check.input([Math.max(...lengths), turned], "table");
      const rotary = even ? null : { positions: check.integers(positions, "positions"), table: table.tensor };
      const back = (x: Float64Array) => (even ? x : rotaryReference(x, positions, table.values, d, true, turned));
      const wanted = joined(tokens, [back(want.dq), back(want.dk), want.dv]);
      const forms = attentionForms(check.gpu).slice(0, others ? undefined : 1);
      for (const form of forms) {
        const { o, stats } = attention(check.record, qkv.tensor, spans, heads, form);
        check.compare(`o, ${form}`, o, want.o);
        const dqkv = attentionBackward(check.record, { qkv: qkv.tensor, spans, o, dout: dout.tensor, stats }, heads, {
          rotary,
          form,
        });
        check.compare(`dqkv, ${form}`, dqkv, wanted);
      }
    },
  };
}

/** The columns of a packed qkv `[tokens, (h + 2 g) d]` in float64: queries, keys, values. */
export function queriesKeysValues(
  qkv: ArrayLike<number>,
  tokens: number,
  { h, g, d }: Pick<AttentionCase, "h" | "g" | "d">,
): Float64Array[] {
  const width = (h + 2 * g) * d;
  const columns = (from: number, count: number) =>
    Float64Array.from({ length: tokens * count }, (_, i) => qkv[Math.floor(i / count) * width + from + (i % count)]);
  return [columns(0, h * d), columns(h * d, g * d), columns((h + g) * d, g * d)];
}

/** Arrays of the same number of rows, side by side. */
function joined(rows: number, parts: readonly Float64Array[]): Float64Array {
  const width = parts.reduce((sum, part) => sum + part.length / rows, 0);
  const out = new Float64Array(rows * width);
  let at = 0;
  for (const part of parts) {
    const columns = part.length / rows;
    for (let r = 0; r < rows; r++) out.set(part.subarray(r * columns, (r + 1) * columns), r * width + at);
    at += columns;
  }
  return out;
}
