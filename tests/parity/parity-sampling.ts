import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import { type SampleSettings, sample, seenWords } from "../../src/kernels/sample/sample.ts";
import { type ParityRow, readTensors } from "./parity-model.ts";

/** One setting of a sampling folder's cases.json; its logits and probabilities are in tensors.safetensors. */
export interface SamplingCase extends SampleSettings {
  i: number;
  /** tokens seen so far */
  context: number[];
}

/** The bits of `context` for one row of `seen`. */
export function contextBits(context: readonly number[], vocab: number): Uint32Array {
  const bits = new Uint32Array(seenWords(vocab));
  for (const id of context) bits[id >>> 5] |= 1 << (id & 31);
  return bits;
}

/** The processed distribution on the GPU, for each setting of a golden sampling folder. */
export async function samplingParity(gpu: Gpu, folder: Folder, name: string): Promise<ParityRow[]> {
  const cases: SamplingCase[] = JSON.parse(await folder.readText("cases.json"));
  const tensors = await readTensors(folder, "tensors.safetensors");
  const rows: ParityRow[] = [];
  for (const { i, context, ...settings } of cases) {
    const logits = tensors.get(`logits_${i}`)!.data;
    const vocab = logits.length;
    const record = gpu.recorder();
    const read = record.scope(() => {
      const { probabilities } = sample(record, [{ tensor: record.upload(logits, [1, vocab], "logits"), start: 0 }], {
        ...settings,
        vocab,
        seeds: record.upload(Uint32Array.of(0), [1], "seeds"),
        positions: record.upload(Uint32Array.of(0), [1], "positions"),
        seen: record.upload(contextBits(context, vocab), [1, seenWords(vocab)], "seen"),
        probabilities: true,
      });
      return record.read(probabilities!);
    });
    record.submit();
    const got = new Float32Array(await read, 0, vocab);
    const want = tensors.get(`probs_${i}`)!.data;
    const worst = got.reduce((most, p, n) => Math.max(most, Math.abs(p - want[n])), 0);
    const { repetition_penalty, temperature, top_k, top_p, min_p } = settings;
    rows.push({
      case: name,
      check: `${i}: penalty ${repetition_penalty}, T ${temperature}, k ${top_k}, p ${top_p}, min ${min_p}`,
      worst,
      tolerance: 1e-5,
    });
  }
  return rows;
}
