import type { Gpu } from "../../src/gpu/device.ts";
import type { Checkpoint } from "../../src/io/checkpoint.ts";
import { bytesOf, f32ToF16, openSafetensors, toFloat32 } from "../../src/io/safetensors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { publishedName } from "../../src/model/architectures/tensors.ts";
import type { Trained } from "../../src/model/build.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { fillAdapter, type LoadDType, loadModel, openAdapterFor } from "../../src/model/files/load.ts";
import { openModel } from "../../src/model/files/open.ts";
import { type PackedBatch, shiftedTargets, type Transformer } from "../../src/model/transformer.ts";
import type { ImageGrid } from "../../src/model/vision/places.ts";
import type { Patches } from "../../src/model/vision/tower.ts";
import { toInt32 } from "./integers.ts";

/** One line of the parity table. */
export interface ParityRow {
  case: string;
  check: string;
  /** relative error; NaN fails */
  worst: number;
  tolerance: number;
}

/** The golden batch without its padding. */
export interface GoldenBatch extends PackedBatch {
  labels: Int32Array;
  /** sequences of the padded batch and its width */
  rows: number;
  width: number;
  lengths: number[];
}

/** f16 weights round to 11 bits: about a hundred times looser. */
export const F16_FACTOR = 100;
/**
 * Delta nets amplify it, where a head's output is about as small as the root of the norm's epsilon. transformers itself, with
 * weights rounded to f16, is as far from its own float64 numbers (scripts/oracle/f16_rounding.py): logits 4.06e-2, with the adapter
 * 4.49e-2, log-probs 1.93e-2, gradients 1.06e-1. So the numbers that count are compared with f32 sums of the same rounded weights.
 */
const F16_DELTA_FACTOR = 1100;

/** Reads a file of tensors. Gradients may be I16, as parts of their largest entry: see scripts/oracle/pack-golden.ts. */
export async function readTensors(
  folder: Folder,
  name: string,
): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  const file = await openSafetensors(await folder.open(name));
  const out = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [key, { dtype, shape }] of file.tensors) {
    const bytes = await file.read(key);
    const largest = `${key}.largest`;
    const unit = file.tensors.has(largest) ? toFloat32(await file.read(largest), "F32")[0] / 32767 : 1;
    if (dtype === "F32" && file.tensors.has(key.replace(/\.largest$/, "")) && key.endsWith(".largest")) continue;
    out.set(key, {
      shape,
      data: dtype.startsWith("I") ? Float32Array.from(toInt32(bytes, dtype), (v) => v * unit) : toFloat32(bytes, dtype),
    });
  }
  return out;
}

export async function readBatch(folder: Folder): Promise<GoldenBatch> {
  const tensors = await readTensors(folder, "batch.safetensors");
  const ids = tensors.get("input_ids")!;
  const mask = tensors.get("attention_mask")!.data;
  const labels = tensors.get("labels")!.data;
  const [rows, width] = ids.shape;
  const batch = {
    input_ids: [] as number[],
    position_ids: [] as number[],
    cu_seqlens: [0],
    labels: [] as number[],
    lengths: [] as number[],
  };
  for (let row = 0; row < rows; row++) {
    let length = 0;
    for (let t = 0; t < width; t++) {
      if (mask[row * width + t] === 0) continue;
      batch.input_ids.push(ids.data[row * width + t]);
      batch.labels.push(labels[row * width + t]);
      batch.position_ids.push(length++);
    }
    batch.lengths.push(length);
    batch.cu_seqlens.push(batch.input_ids.length);
  }
  const [pixels, grids] = [tensors.get("pixel_values"), tensors.get("image_grid_thw")];
  const images = pixels && {
    pixels: pixels.data,
    grids: Array.from({ length: grids!.shape[0] }, (_, i): ImageGrid => {
      const [t, h, w] = grids!.data.subarray(3 * i);
      return [t, h, w];
    }),
  };
  return { ...batch, ...(images && { images }), labels: Int32Array.from(batch.labels), rows, width };
}

/**
 * Extracts the values of real tokens from a padded [rows, width, each] array, without the last `drop` tokens of each
 * sequence.
 */
export function unpad(
  padded: Float32Array,
  batch: GoldenBatch,
  width: number,
  each: number,
  drop: number,
): Float32Array {
  const parts = batch.lengths.map((length, s) => {
    const first = s * width;
    return padded.subarray(first * each, (first + length - drop) * each);
  });
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Loss (mean over labelled tokens) and the gradients of all trainable parameters. */
async function lossAndGrads(
  model: Transformer,
  batch: GoldenBatch,
): Promise<{ loss: number; grads: Map<string, Float32Array> }> {
  const { gpu, store } = model;
  const targets = shiftedTargets(batch, batch.labels);
  const record = gpu.recorder();
  record.clear(store!.grads);
  const rows = model.run(record, batch, targets, {}, (r, _, __, count) =>
    r.upload(new Float32Array(count).fill(-1 / targets.rows.length), [count], "dObjective"),
  )!;
  const logp = record.read(rows.logp);
  const flat = record.read(store!.grads);
  record.submit();
  const loss = -new Float32Array(await logp).reduce((sum, v) => sum + v, 0) / targets.rows.length;
  const named = store!.split(await flat).map(({ name, data }) => [publishedName(model.config, name), data] as const);
  return { loss, grads: new Map(named) };
}

/** @param want under the names of a model in PEFT, whose magnitudes end in `.weight` (files leave that out) */
export function worstGradient(grads: Map<string, Float32Array>, want: Map<string, { data: Float32Array }>): number {
  let worst = 0;
  for (const [name, { data }] of want) {
    const got = grads.get(name.replace(/(lora_magnitude_vector)\.weight$/, "$1"));
    const error = got ? relativeError(got, data) : Number.NaN;
    if (!(error <= worst)) worst = error;
    if (Number.isNaN(worst)) break;
  }
  return worst;
}

/** Features of images, from the tower alone. */
async function featuresOf({ gpu, tower }: Transformer, images: Patches): Promise<Float32Array> {
  const record = gpu.recorder();
  const read = record.scope(() => record.read(tower!.forward(record, images).features));
  record.submit();
  return new Float32Array(await read);
}

async function greedy(model: Transformer, prompt: number[], count: number): Promise<number[]> {
  const ids = [...prompt];
  const { vocab_size } = model.config;
  for (let n = 0; n < count; n++) {
    const logits = await model.logits({
      input_ids: ids,
      position_ids: ids.map((_, i) => i),
      cu_seqlens: [0, ids.length],
    });
    const last = logits.subarray((ids.length - 1) * vocab_size);
    ids.push(last.reduce((best, v, i) => (v > last[best] ? i : best), 0));
  }
  return ids.slice(prompt.length);
}

/** A checkpoint of F32 tensors whose values are rounded to f16. */
function roundedToF16(checkpoint: Checkpoint): Checkpoint {
  const read: Checkpoint["read"] = async (name, start, end) =>
    bytesOf(toFloat32(bytesOf(f32ToF16(toFloat32(await checkpoint.read(name, start, end), "F32"))), "F16"));
  return { ...checkpoint, read };
}

/** Logits, loss and gradients with weights in f16, and with the same values in f32: only the kernels' loads differ. */
async function f16LoadsParity(
  gpu: Gpu,
  checkpoint: Checkpoint,
  adapterFolder: Folder,
  batch: GoldenBatch,
): Promise<[string, number, number][]> {
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), adapterFolder);
  const vision = batch.images !== undefined;
  const half = await loadModel(gpu, checkpoint, { dtype: "float16", trained: { lora }, vision });
  const full = await loadModel(gpu, roundedToF16(checkpoint), { dtype: "float32", trained: { lora }, vision });
  for (const model of [half, full]) await fillAdapter(gpu, model, adapter);
  const logits = relativeError(await half.logits(batch), await full.logits(batch));
  const [ours, wanted] = [await lossAndGrads(half, batch), await lossAndGrads(full, batch)];
  const grads = new Map([...wanted.grads].map(([name, data]) => [name, { data }]));
  return [
    ["logits, rounded weights in f32", logits, 1e-4],
    ["lora_loss, rounded weights in f32", Math.abs(ours.loss - wanted.loss) / wanted.loss, 1e-5],
    ["lora_grads, rounded weights in f32", worstGradient(ours.grads, grads), 1e-4],
  ];
}

/** What a golden case holds of its base. */
interface BaseCase {
  folder: Folder;
  batch: GoldenBatch;
  base: Transformer;
  load(trained: Trained): Promise<Transformer>;
  dtype: LoadDType;
  loss: number;
}

/** Logits, log-probs and entropies of a case's base, and the gradients of full training. */
async function baseParity({ folder, batch, base, load, dtype, loss }: BaseCase): Promise<[string, number, number][]> {
  const rows: [string, number, number][] = [];
  const add = (...row: [string, number, number]) => rows.push(row);
  const { gpu } = base;
  const vocab = base.config.vocab_size;
  const vision = batch.images !== undefined;
  const outputs = await readTensors(folder, "base_outputs.safetensors");
  if (vision) {
    const features = await featuresOf(base, batch.images as Patches);
    add("image features", relativeError(features, outputs.get("image_features")!.data), 1e-4);
    const known = { ...batch, images: { features, grids: batch.images!.grids } };
    add("logits from features", relativeError(await base.logits(known), await base.logits(batch)), 1e-6);
  }
  add(
    "logits",
    relativeError(await base.logits(batch), unpad(outputs.get("logits")!.data, batch, batch.width, vocab, 0)),
    1e-4,
  );
  const next = shiftedTargets(batch, batch.input_ids);
  const record = gpu.recorder();
  const results = base.run(record, batch, next, {}, null)!;
  const [logp, entropy] = [record.read(results.logp), record.read(results.entropy)];
  record.submit();
  const wide = batch.width - 1;
  add(
    "token_logprobs",
    relativeError(new Float32Array(await logp), unpad(outputs.get("token_logprobs")!.data, batch, wide, 1, 1)),
    1e-4,
  );
  add(
    "entropy",
    relativeError(new Float32Array(await entropy), unpad(outputs.get("entropy")!.data, batch, wide, 1, 1)),
    1e-4,
  );

  if (dtype === "auto") {
    const full = await lossAndGrads(await load("all"), batch);
    add("base_loss", Math.abs(full.loss - loss) / loss, 1e-5);
    add("base_grads", worstGradient(full.grads, await readTensors(folder, "base_grads.safetensors")), 1e-4);
  }
  return rows;
}

/** Checks one model case (a folder with case.json): base and adapter, forward and backward, greedy tokens. */
export async function modelParity(gpu: Gpu, folder: Folder, name: string, dtype: LoadDType): Promise<ParityRow[]> {
  const title = dtype === "auto" ? name : `${name} ${dtype}`;
  const rows: ParityRow[] = [];
  const add = (check: string, worst: number, tolerance: number) =>
    rows.push({ case: title, check, worst, tolerance: tolerance * factor });
  const { delta } = parseModelConfig(JSON.parse(await folder.readText("config.json")));
  const factor = dtype === "auto" ? 1 : delta ? F16_DELTA_FACTOR : F16_FACTOR;
  const golden = JSON.parse(await folder.readText("case.json"));
  const batch = await readBatch(folder);
  const checkpoint = (await openModel(folder)).checkpoint;
  const vocab = parseModelConfig(checkpoint.config).vocab_size;
  const vision = batch.images !== undefined;
  const load = async (trained: Trained) => loadModel(gpu, checkpoint, { dtype, trained, vision });

  const base = await load("none");
  // a case whose base is another case's has the adapter's numbers only
  if (!(await folder.exists("model_of.json"))) {
    for (const row of await baseParity({ folder, batch, base, load, dtype, loss: golden.base_loss })) add(...row);
  }

  const { adapter, lora } = await openAdapterFor(base.config, folder.folder("adapter"));
  const tuned = await load({ lora });
  await fillAdapter(gpu, tuned, adapter);
  const tunedLogits = (await readTensors(folder, "lora_outputs.safetensors")).get("logits")!.data;
  add(
    "adapter logits",
    relativeError(await tuned.logits(batch), unpad(tunedLogits, batch, batch.width, vocab, 0)),
    1e-4,
  );
  const { loss, grads } = await lossAndGrads(tuned, batch);
  add("lora_loss", Math.abs(loss - golden.lora_loss) / golden.lora_loss, 1e-5);
  add("lora_grads", worstGradient(grads, await readTensors(folder, "lora_grads.safetensors")), 1e-4);
  if (dtype !== "auto" && delta) {
    for (const [check, worst, tolerance] of await f16LoadsParity(gpu, checkpoint, folder.folder("adapter"), batch))
      rows.push({ case: title, check, worst, tolerance });
  }
  if (dtype !== "auto") return rows; // rounded weights may choose another token if two are close
  let different = 0;
  for (const { prompt, completion } of golden.greedy_with_adapter ?? []) {
    const got = await greedy(tuned, prompt, completion.length);
    different += got.filter((token, i) => token !== completion[i]).length;
  }
  add("greedy tokens that differ", different, 0);
  return rows;
}
