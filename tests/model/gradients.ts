import { expect } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { toFloat32 } from "../../src/io/safetensors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { type LoraConfig, loraName } from "../../src/model/adapters/lora.ts";
import { targetsOf } from "../../src/model/adapters/targets.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { initAdapter, loadModel } from "../../src/model/files/load.ts";
import { type PackedBatch, shiftedTargets } from "../../src/model/transformer.ts";
import { uniformFrom } from "../../src/train/seed.ts";
import { integers } from "../train/fixtures.ts";
import { ReferenceModel, type ReferencePairs } from "./reference.ts";

/** Step of the central difference, in float64. */
const STEP = 1e-5;
/** Number of entries to check per parameter: the largest, and others at random. */
const ENTRIES = process.env.MODE === "slow" ? 4 : 2;

export interface GradientCheck {
  lora: LoraConfig | null;
  recompute: boolean;
  lengths?: number[];
  width?: number;
}

/** Packed sequences of different lengths, with tokens below `vocab`; the first third of each has no labels. */
export function packedBatch(lengths: readonly number[], vocab: number): { batch: PackedBatch; labels: number[] } {
  const next = integers(11);
  const input_ids = lengths.flatMap((length) => Array.from({ length }, () => next(vocab)));
  const position_ids = lengths.flatMap((length) => Array.from({ length }, (_, t) => t));
  const cu_seqlens = [0];
  for (const length of lengths) cu_seqlens.push(cu_seqlens.at(-1)! + length);
  const labels = input_ids.map((id, i) => (position_ids[i] < 2 ? -100 : id));
  return { batch: { input_ids, position_ids, cu_seqlens }, labels };
}

/** The same sequences, each padded to `width` with an unlabelled token. */
function padded({ input_ids, cu_seqlens }: PackedBatch, labels: readonly number[], width: number) {
  const rows = Array.from({ length: cu_seqlens.length - 1 }, (_, s) => [cu_seqlens[s], cu_seqlens[s + 1]]);
  const fill = (values: ArrayLike<number>, with_: number) =>
    rows.flatMap(([start, end]) =>
      Array.from({ length: width }, (_, t) => (start + t < end ? values[start + t] : with_)),
    );
  return {
    batch: {
      input_ids: fill(input_ids, 0),
      position_ids: rows.flatMap(() => Array.from({ length: width }, (_, t) => t)),
      cu_seqlens: Array.from({ length: rows.length + 1 }, (_, s) => s * width),
    },
    labels: fill(labels, -100),
  };
}

/**
 * Compares a whole model's loss with float64, and a few gradients of every parameter with central differences of the
 * loss.
 *
 * @param lora trains an adapter whose B is not 0; null trains all weights
 * @param width tokens that each sequence is padded to, which must change nothing; absent: packed
 * @returns names of the parameters that were compared
 */
export async function checkGradients(
  gpu: Gpu,
  folder: Folder,
  { lora, recompute, lengths = [9, 1, 5], width }: GradientCheck,
): Promise<string[]> {
  const checkpoint = await openCheckpoint(folder);
  const config = parseModelConfig(checkpoint.config);
  const model = await loadModel(gpu, checkpoint, { trained: lora ? { lora } : "all" });
  model.gradient_checkpointing = recompute;
  const store = model.store!;
  if (lora) {
    initAdapter(gpu, model, uniformFrom(3));
    const draw = uniformFrom(4);
    for (const { name, size } of store.parameters) {
      if (name.includes("lora_B"))
        store.write(
          gpu,
          name,
          Float32Array.from({ length: size }, () => 0.2 * (draw() - 0.5)),
        );
    }
  }
  const values = new Map(
    store.split(await gpu.read(store.values)).map(({ name, data }) => [name, Float64Array.from(data)]),
  );
  const weights = new Map<string, Float64Array>();
  for (const [name, { dtype }] of checkpoint.weights) {
    weights.set(name, values.get(name) ?? Float64Array.from(toFloat32(await checkpoint.read(name), dtype as "F32")));
  }
  const pairs: ReferencePairs = new Map(
    (lora ? targetsOf(config, lora) : []).map((target) => {
      const of = (matrix: "lora_A" | "lora_B") => values.get(loraName(target, matrix))!;
      return [target.path, { a: of("lora_A"), b: of("lora_B"), r: target.r, scale: target.scale }];
    }),
  );
  const reference = new ReferenceModel(config, weights, pairs);
  const { batch, labels } = packedBatch(lengths, config.vocab_size);
  const targets = shiftedTargets(batch, labels);
  const given = width ? padded(batch, labels, width) : { batch, labels };

  const record = gpu.recorder();
  record.clear(store.grads);
  const read = record.scope(() => {
    const rows = model.run(
      record,
      given.batch,
      shiftedTargets(given.batch, given.labels),
      {},
      (r, _rows, _start, count) => r.upload(new Float32Array(count).fill(-1), [count], "d.objective"),
    )!;
    return { logp: record.read(rows.logp), grads: record.read(store.grads) };
  });
  record.submit();
  const loss = -new Float32Array(await read.logp).reduce((sum, value) => sum + value, 0);
  const want = reference.loss(batch, targets);
  expect(Math.abs(loss / want - 1)).toBeLessThan(1e-5);

  const next = integers(5);
  for (const { name, data } of store.split(await read.grads)) {
    const parameter = values.get(name)!;
    const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largest, `${name} has a gradient`).toBeGreaterThan(0);
    for (let n = 0; n < ENTRIES; n++) {
      // the largest entry, and some at random
      const i = n === 0 ? data.findIndex((value) => Math.abs(value) === largest) : next(parameter.length);
      const was = parameter[i];
      const at = (value: number) => {
        parameter[i] = value;
        return reference.loss(batch, targets);
      };
      const slope = (at(was + STEP) - at(was - STEP)) / (2 * STEP);
      parameter[i] = was;
      expect(Math.abs(data[i] - slope), `${name}[${i}]: ${data[i]} and ${slope}`).toBeLessThan(2e-4 * largest + 1e-6);
    }
  }
  return store.parameters.map(({ name }) => name);
}
