import type { Gpu } from "../../../src/gpu/device.ts";
import { type AttentionForm, attention, attentionBackward, spansOf } from "../../../src/kernels/attention/attention.ts";

/** Bits of o and dqkv of two sequences, with dispatches of at most `budget` work. */
export async function attendBits(
  gpu: Gpu,
  form: AttentionForm,
  [num_attention_heads, num_key_value_heads, head_dim]: readonly [number, number, number],
  budget: number,
): Promise<{ o: Uint32Array; dqkv: Uint32Array; dispatches: number }> {
  const heads = { num_attention_heads, num_key_value_heads, head_dim };
  const starts = [0, 63, 194];
  const tokens = 194;
  const before = gpu.pace.budget;
  const record = gpu.recorder();
  let dispatches = 0;
  const dispatch = record.dispatch.bind(record);
  record.dispatch = (...args) => {
    dispatches++;
    return dispatch(...args);
  };
  const wave = (width: number, step: number) =>
    Float32Array.from({ length: tokens * width }, (_, i) => Math.sin(step * i * i + i));
  const [width, out] = [(num_attention_heads + 2 * num_key_value_heads) * head_dim, num_attention_heads * head_dim];
  const reads = record.scope(() => {
    const spans = { ...record.upload(spansOf(starts), [2 * tokens], "spans"), shape: [tokens, 2] };
    const qkv = record.upload(wave(width, 0.37), [tokens, width], "qkv");
    const dout = record.upload(wave(out, 0.21), [tokens, out], "dout");
    gpu.pace.budget = budget;
    const { o, stats } = attention(record, qkv, spans, heads, form);
    const dqkv = attentionBackward(record, { qkv, spans, o, dout, stats }, heads, { form });
    gpu.pace.budget = before;
    return { o: record.read(o), dqkv: record.read(dqkv) };
  });
  record.submit();
  return { o: new Uint32Array(await reads.o), dqkv: new Uint32Array(await reads.dqkv), dispatches };
}
