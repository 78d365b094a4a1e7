import { view } from "../gpu/tensor.ts";
import { attention, attentionBackward, attentionReference, spansOf } from "./attention.ts";
import type { KernelCase } from "./check.ts";

/** Sequence lengths, query heads, key heads, head_dim: one token, tile edges, several sequences in a tile, head sizes of real models. */
const CASES = [
  { lengths: [1], h: 1, g: 1, d: 4 },
  { lengths: [63, 1, 2, 65], h: 5, g: 1, d: 12 },
  { lengths: [33, 150], h: 4, g: 2, d: 24 },
  { lengths: [40, 31], h: 14, g: 2, d: 64 },
  { lengths: [70], h: 4, g: 2, d: 128 },
];

/** What attention and its gradients are held to. */
export const attentionCases: KernelCase[] = CASES.map(({ lengths, h, g, d }) => ({
  kernel: "attention",
  name: `lengths ${lengths.join("+")}, ${h} heads over ${g} of ${d}`,
  tolerance: 1e-5,
  run(check) {
    const starts = [0];
    for (const n of lengths) starts.push(starts.at(-1)! + n);
    const tokens = starts.at(-1)!;
    const heads = { num_attention_heads: h, num_key_value_heads: g, head_dim: d };
    const q = check.input([tokens, h * d], "q", 3);
    const k = check.input([tokens, g * d], "k", 3);
    const v = check.input([tokens, g * d], "v");
    const dout = check.input([tokens, h * d], "dout");
    const rows = spansOf(starts);
    const flat = check.integers([...rows], "spans");
    const spans = view(flat, [tokens, 2]);
    const { o, stats } = attention(check.record, q.tensor, k.tensor, v.tensor, spans, heads);
    const grads = attentionBackward(check.record, q.tensor, k.tensor, v.tensor, spans, o, dout.tensor, stats, heads);
    const want = attentionReference(q.values, k.values, v.values, rows, heads, dout.values);
    check.compare("o", o, want.o);
    check.compare("dq", grads.dq, want.dq);
    check.compare("dk", grads.dk, want.dk);
    check.compare("dv", grads.dv, want.dv);
  },
}));
