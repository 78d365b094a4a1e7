import { FormatError, ShapeError, UnsupportedError } from "../../errors.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Checkpoint } from "../../io/checkpoint.ts";
import type { Adapter } from "../../io/peft.ts";
import { bytesOf, findNonFinite } from "../../io/safetensors.ts";
import { Sha256 } from "../../io/sha256.ts";
import type { Folder } from "../../io/storage.ts";
import type { WeightShard } from "../../kernels/embedding/embedding.ts";
import { doraGains } from "../../kernels/matmul/dora.ts";
import type { Dora, Linear, Lora } from "../../kernels/matmul/linear.ts";
import { EMBEDDING, type Module, modulesOf, towerModules } from "../architectures/tensors.ts";
import { shardRows } from "../build.ts";
import { openAdapterFor } from "../files/load.ts";
import { newGains } from "../layers/build-linear.ts";
import { indexRows } from "../layers/tables.ts";
import type { Transformer } from "../transformer.ts";
import type { Weights } from "../weights.ts";
import { type LoraConfig, loraName, lora as plainLora } from "./lora.ts";
import { type SavedTable, savedTables } from "./tables.ts";
import type { Target } from "./targets.ts";
import { type TrainedRows, trainedRows } from "./token-rows.ts";

/**
 * LoRA matrices on the GPU, for a model that was loaded without an adapter. Several adapters can be in memory at once.
 */
export interface LoadedAdapter {
  readonly model: Transformer;
  readonly lora: LoraConfig;
  /** the pair of matrices for each of the model's linears, in order; null: no adapter there */
  readonly pairs: readonly (Lora | null)[];
  /** the tables, or rows of tables, that it replaces: modules_to_save and trainable_token_indices */
  readonly tables: Tables;
  /** hash of what it changes in the vision tower; null: nothing */
  readonly towerKey: string | null;
  readonly tensors: readonly Tensor[];
}

/** Embedding and head, or one of them, and rows that replace theirs. */
type Tables = Partial<Pick<Weights, "embed" | "head" | "rows">>;

/** The base's own tables, of models whose tables an adapter has replaced. */
const baseTables = new WeakMap<Transformer, Required<Tables>>();

/** Every `Linear` of a model and of its vision tower, in order, with the linear layers that it computes. */
function linearsOf(model: Transformer): { linear: Linear; modules: Module[] }[] {
  const { config, tower } = model;
  const modules = [...modulesOf(config), ...(tower ? towerModules(config) : [])];
  let at = 0;
  return model.linears.map((linear) => ({ linear, modules: modules.slice(at, (at += linear.parts.length)) }));
}

/** Offsets of matrices of these sizes in one buffer, then its length: multiples of 4, for vec4 loads. */
function startsOf(sizes: readonly number[]): number[] {
  const starts = [0];
  for (const [i, size] of sizes.entries()) starts.push(Math.ceil((starts[i] + size) / 4) * 4);
  return starts;
}

/** lora_B padded with zero columns, so that pairs of different ranks and factors share one kernel. */
function widened(b: Float32Array, { out, r }: Target, rank: number, factor: number): Float32Array {
  if (r === rank && factor === 1) return b;
  const wide = new Float32Array(out * rank);
  for (let i = 0; i < out; i++) for (let k = 0; k < r; k++) wide[i * rank + k] = factor * b[i * r + k];
  return wide;
}

/**
 * Loads the matrices of a PEFT folder onto the GPU. The model's output does not change until `setAdapter`.
 *
 * @param checkpoint the base, for adapters of PiSSA that PEFT saved
 * @throws {FormatError} an adapter for another base, or one that holds NaN or infinity
 * @throws {UnsupportedError} an adapter that is not plain LoRA
 */
export async function loadAdapter(
  model: Transformer,
  folder: Folder,
  checkpoint: Checkpoint | null = null,
): Promise<LoadedAdapter> {
  const { gpu, config } = model;
  const { adapter, lora } = await openAdapterFor(config, folder, checkpoint);
  const tensors: Tensor[] = [];
  const allocate = (count: number, label: string): Tensor => {
    const tensor = gpu.persistent([count], "f32", label, "weights");
    tensors.push(tensor);
    return tensor;
  };
  const fill = async (tensor: Tensor, name: string, at: number, change = (data: Float32Array) => data) => {
    const data = change(await adapter.read(name));
    checkFinite(data, name, folder.path);
    gpu.write(tensor, data, 4 * at);
  };
  const own = modulesOf(config).length;
  const targets = new Map(plainLora.targets(config, lora).map((target) => [target.path, target]));
  const ofTower = [...targets.values()].filter(({ index }) => index >= own);
  const magnitudesOf = async (modules: readonly Module[], tuned: readonly Target[]): Promise<Dora> => {
    const at = startsOf(tuned.map(({ out }) => out));
    const magnitude = allocate(at[tuned.length], `${tuned[0].path}.lora_magnitude_vector`);
    await Promise.all(tuned.map((target, i) => fill(magnitude, loraName(target, "lora_magnitude_vector"), at[i])));
    const made = newGains(gpu, modules, new Map(tuned.map(({ path }) => [path, null])), at);
    tensors.push(made.gains);
    return { magnitude, ...made };
  };
  const put = async (linear: Linear, modules: readonly Module[]): Promise<Lora | null> => {
    const tuned = modules.flatMap(({ path }) => targets.get(path) ?? []);
    if (tuned.length === 0) return null;
    const r = Math.max(...tuned.map((target) => target.r));
    const [{ scale }] = tuned;
    const aAt = startsOf(tuned.map(({ inner }) => r * inner));
    const bAt = startsOf(tuned.map(({ out }) => out * r));
    const a = allocate(aAt[tuned.length], `${tuned[0].path}.lora_A`);
    const b = allocate(bAt[tuned.length], `${tuned[0].path}.lora_B`);
    await Promise.all(
      tuned.flatMap((target, i) => [
        fill(a, loraName(target, "lora_A"), aAt[i]),
        fill(b, loraName(target, "lora_B"), bAt[i], (data) => widened(data, target, r, target.scale / scale)),
      ]),
    );
    const parts = linear.parts.map((_, part) => {
      const i = tuned.findIndex(({ path }) => path === modules[part].path);
      return i < 0 ? null : { aAt: aAt[i], bAt: bAt[i], index: 0 };
    });
    const dora = tuned[0].dora ? await magnitudesOf(modules, tuned) : null;
    return { a, b, r, scale, dropout: 0, parts, dora }; // no dropout: inference only
  };
  const tableOf = async ({ name, shape: [rows, width] }: SavedTable): Promise<WeightShard[]> => {
    const values = await adapter.read(name);
    checkFinite(values, name, folder.path);
    const each = shardRows(gpu, rows, width, "f32");
    return Array.from({ length: Math.ceil(rows / each) }, (_, i) => {
      const [start, end] = [i * each, Math.min((i + 1) * each, rows)];
      const tensor = gpu.persistent([end - start, width], "f32", `${name}[${start}:]`, "weights");
      tensors.push(tensor);
      gpu.write(tensor, values.subarray(start * width, end * width));
      return { start, tensor };
    });
  };
  const rowsOf = async ({ name, shape, ids }: TrainedRows) => {
    const rows = gpu.persistent(shape, "f32", name, "weights");
    tensors.push(rows);
    await fill(rows, name, 0);
    const own = indexRows(gpu, ids, config.vocab_size, { rows, grad: null });
    tensors.push(own.ids, own.places);
    return own;
  };
  const pairs: (Lora | null)[] = [];
  const tables: Tables = {};
  try {
    for (const saved of savedTables(config, lora)) {
      tables[saved.table === EMBEDDING ? "embed" : "head"] = await tableOf(saved);
    }
    for (const trained of trainedRows(config, lora)) {
      const own = await rowsOf(trained);
      tables.rows ??= { embed: null, head: null };
      for (const table of trained.tables) tables.rows[table === EMBEDDING ? "embed" : "head"] = own;
    }
    const record = gpu.recorder();
    for (const { linear, modules } of linearsOf(model)) {
      const pair = await put(linear, modules);
      pairs.push(pair);
      doraGains(record, { ...linear, lora: pair });
    }
    record.submit();
  } catch (error) {
    gpu.drop(...tensors);
    throw error;
  }
  return { model, lora, pairs, tables, tensors, towerKey: await hashOf(adapter, ofTower) };
}

/** A hash of an adapter's matrices and factors for these layers; null: there are none. */
async function hashOf({ read }: Pick<Adapter, "read">, targets: readonly Target[]): Promise<string | null> {
  if (targets.length === 0) return null;
  const hash = new Sha256();
  for (const target of targets) {
    hash.update(new TextEncoder().encode(`${target.path} ${target.scale}`));
    for (const { name } of plainLora.parameters(target)) hash.update(bytesOf(await read(name)));
  }
  return hash.hex();
}

/**
 * Sets the adapter of a model; null removes it. The base weights stay on the GPU. The change applies to commands
 * recorded from now on.
 *
 * @throws {ShapeError} an adapter that was loaded for another model
 * @throws {UnsupportedError} a model that is loaded for training: it runs with its own trainable parameters
 */
export function setAdapter(model: Transformer, adapter: LoadedAdapter | null): void {
  if (model.store) throw new UnsupportedError("Cannot swap the adapter of a model that is loaded for training");
  if (adapter && adapter.model !== model) {
    throw new ShapeError(
      "Cannot set this adapter: it was loaded for another model; load the adapter again for this model",
    );
  }
  const { weights } = model;
  if (!baseTables.has(model)) baseTables.set(model, { embed: weights.embed, head: weights.head, rows: weights.rows });
  Object.assign(weights, baseTables.get(model), adapter?.tables);
  linearsOf(model).forEach(({ linear }, i) => {
    linear.lora = adapter?.pairs[i] ?? null;
  });
  if (model.tower) model.tower.adapterKey = adapter?.towerKey ?? null;
}

function checkFinite(values: Float32Array, name: string, where: string): void {
  const bad = findNonFinite(bytesOf(values), "F32");
  if (bad < 0) return;
  throw new FormatError(`Cannot use adapter ${where}: ${name} holds a value that is not finite, at element ${bad}`);
}

/** Frees an adapter's memory once the GPU has finished with it. The adapter must no longer be set on the model. */
export async function dropAdapter({ model, tensors }: LoadedAdapter): Promise<void> {
  await model.gpu.settle();
  model.gpu.drop(...tensors);
}
