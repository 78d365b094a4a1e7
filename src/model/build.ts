import { FormatError, UnsupportedError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import { byteLength, type DType, view } from "../gpu/tensor.ts";
import type { WeightShard } from "../kernels/embedding/embedding.ts";
import { type LoraConfig, lora } from "./adapters/lora.ts";
import { savedTables, type Table, tableName } from "./adapters/tables.ts";
import type { Target } from "./adapters/targets.ts";
import { type TrainedRows, trainedRows } from "./adapters/token-rows.ts";
import type {
  AttentionSpec,
  LayerSpec,
  ModelConfig,
  NormSpec,
  OwnTensor,
  SublayerSpec,
} from "./architectures/architecture.ts";
import { architectureOf } from "./architectures/registry.ts";
import {
  EMBEDDING,
  FINAL_NORM,
  groupsOf,
  HEAD,
  isProjection,
  layersOf,
  type Module,
  modulesOf,
  normName,
  type TensorSpec,
  tensorsOf,
  towerOf,
} from "./architectures/tensors.ts";
import { AttentionBody } from "./layers/attention.ts";
import type { Block, Sublayer } from "./layers/block.ts";
import type { Body, BodyParts } from "./layers/body.ts";
import { buildGroup } from "./layers/build-linear.ts";
import { GatedDeltaNetBody } from "./layers/gated-delta-net.ts";
import { GeluBody } from "./layers/gelu-mlp.ts";
import type { Norm, Weight } from "./layers/norm.ts";
import { SwigluBody } from "./layers/swiglu.ts";
import { indexRows, type TableRows } from "./layers/tables.ts";
import { type ParameterSpec, ParameterStore } from "./parameters.ts";
import type { Slot, WeightDType } from "./slots.ts";
import { Transformer } from "./transformer.ts";
import { VisionTower } from "./vision/tower.ts";
import type { Weights } from "./weights.ts";

/** Which parameters are trained: an adapter's, all of them, or none. */
export type Trained = { lora: LoraConfig } | "all" | "none";

/** Rows of a table that fit one binding and one buffer of this device; a multiple of 64, so that views are aligned. */
export function shardRows(gpu: Gpu, rows: number, width: number, dtype: DType): number {
  const limit = Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);
  const most = Math.floor(limit / byteLength(width, dtype) / 64) * 64;
  if (rows <= most) return rows;
  const shards = Math.ceil(rows / most);
  return Math.ceil(rows / shards / 64) * 64;
}

/** Names and shapes of the parameters that will be trained. @param vision with those of the vision tower */
export function parameterSpecs(config: ModelConfig, trained: Trained, vision = false): ParameterSpec[] {
  if (trained === "none") return [];
  if (trained === "all") {
    // as transformers' Trainer: biases and norms are not decayed
    const decayed = ({ shape, role }: TensorSpec) => shape.length > 1 || role === "rate";
    return allTensors(config, vision).map((spec) => ({
      name: spec.name,
      shape: spec.shape,
      decay: decayed(spec),
      hidden: spec.role === "weight" && spec.shape.length === 2,
    }));
  }
  const targets = new Map(lora.targets(config, trained.lora).map((target) => [target.path, target]));
  const matrices = groupsOf(config, vision).flatMap((group) => {
    const matrices = group.flatMap(({ path }) => (targets.has(path) ? lora.parameters(targets.get(path)!) : []));
    // a group's lora_A are adjacent, so that they can form one matrix
    const parts = [...new Set(matrices.map(({ part }) => part))];
    return parts.flatMap((part) => matrices.filter((matrix) => matrix.part === part));
  });
  // in this order no table lies between a group's matrices
  return [...savedTables(config, trained.lora), ...trainedRows(config, trained.lora), ...matrices];
}

/** The tensors of a model, and with `vision` of its vision tower. */
function allTensors(config: ModelConfig, vision: boolean): TensorSpec[] {
  return [...tensorsOf(config).values(), ...(vision ? (towerOf(config)?.tensors.values() ?? []) : [])];
}

/** A model with all its memory allocated but not filled: `slots` maps each checkpoint tensor to its place. */
interface BuiltModel {
  model: Transformer;
  /** by checkpoint name; the embedding is a list of shards */
  slots: Map<string, readonly Slot[]>;
}

/**
 * Allocates a model: frozen weights in their own dtype, trained ones in f32, see `ParameterStore`.
 *
 * @param dtypeOf storage of each frozen checkpoint tensor
 * @param vision with the vision tower, if the model has one
 */
export function buildModel(
  gpu: Gpu,
  config: ModelConfig,
  trained: Trained,
  dtypeOf: (name: string) => WeightDType,
  vision = false,
): BuiltModel {
  const builder = new Builder(gpu, config, { trained, vision }, dtypeOf);
  const embed = builder.table(EMBEDDING);
  const blocks = builder.blocks();
  const norm = builder.norm(FINAL_NORM, architectureOf(config).zeroCentered ?? false);
  const tied = config.tie_word_embeddings;
  // a table that an adapter replaces is tied to no other
  const head = !tied ? builder.table(HEAD) : builder.replacesTable ? builder.table(HEAD, EMBEDDING) : embed;
  const rows = builder.rows();
  const weights: Weights = { embed: embed.shards, head: head.shards, rows, norm, blocks };
  const { store, slots } = builder;
  const grads = store && { embed: embed.grads, head: head.grads };
  const tower = vision ? builder.tower() : null;
  return { model: new Transformer(gpu, config, weights, { grads, store, tower }), slots };
}

/** Allocates memory for one model, tensor by tensor, in the order of a checkpoint. */
class Builder {
  readonly store: ParameterStore | null;
  readonly slots = new Map<string, readonly Slot[]>();
  private readonly gpu: Gpu;
  private readonly config: ModelConfig;
  private readonly dropout: number;
  private readonly trainedRows: readonly TrainedRows[];
  private readonly targets: ReadonlyMap<string, Target>;
  private readonly dtypeOf: (name: string) => WeightDType;

  constructor(
    gpu: Gpu,
    config: ModelConfig,
    { trained, vision }: { trained: Trained; vision: boolean },
    dtypeOf: (name: string) => WeightDType,
  ) {
    const specs = parameterSpecs(config, trained, vision);
    this.gpu = gpu;
    this.config = config;
    const settings = typeof trained === "object" ? trained.lora : null;
    const targets = settings ? lora.targets(config, settings) : [];
    this.targets = new Map(targets.map((target) => [target.path, target]));
    this.dropout = settings?.lora_dropout ?? 0;
    this.trainedRows = settings ? trainedRows(config, settings) : [];
    this.dtypeOf = dtypeOf;
    this.store = specs.length > 0 ? new ParameterStore(gpu, specs) : null;
  }

  /** Whether an adapter has a table of its own. */
  get replacesTable(): boolean {
    return ([EMBEDDING, HEAD] as const).some((name) => this.store?.has(tableName(name)));
  }

  /**
   * A table `[vocab, hidden]`, split into shards that fit a binding, and its gradient.
   *
   * @param from the checkpoint's tensor that it holds at first
   */
  table(name: Table, from: Table = name): { shards: readonly WeightShard[]; grads: readonly WeightShard[] | null } {
    const { gpu, store } = this;
    const [rows, width] = tensorsOf(this.config).get(from)!.shape;
    const own = [name, tableName(name)].find((parameter) => store?.has(parameter));
    const trained = own ? { value: store!.value(own), grad: store!.grad(own) } : null;
    const dtype = trained ? "f32" : this.dtypeOf(from);
    const each = shardRows(gpu, rows, width, dtype);
    const shards: WeightShard[] = [];
    for (let start = 0; start < rows; start += each) {
      const shape = [Math.min(each, rows - start), width];
      const label = rows > each ? `${name}[${start}:]` : name;
      shards.push({
        start,
        tensor: trained ? view(trained.value, shape, start * width, label) : gpu.frozen(shape, dtype, label),
      });
    }
    const slots = shards.map(({ tensor, start }) => ({ tensor, shape: tensor.shape, start, at: 0 }));
    this.slots.set(from, [...(this.slots.get(from) ?? []), ...slots]);
    const gradOf = ({ start, tensor }: WeightShard) => {
      return { start, tensor: view(trained!.grad, tensor.shape, start * tensor.shape[1]) };
    };
    return { shards, grads: trained && shards.map(gradOf) };
  }

  /** The rows that an adapter trains in the tables' place, which hold the checkpoint's at first. */
  rows(): TableRows {
    const rows: TableRows = { embed: null, head: null };
    for (const { name, ids, shape, tables } of this.trainedRows) {
      const values = this.store!.value(name);
      const own = indexRows(this.gpu, ids, this.config.vocab_size, { rows: values, grad: this.store!.grad(name) });
      for (const table of tables) rows[table === EMBEDDING ? "embed" : "head"] = own;
      const from = this.config.tie_word_embeddings ? EMBEDDING : tables[0];
      const slots = ids.map((id, i) => ({ tensor: values, shape: [1, shape[1]], start: id, at: i * shape[1] }));
      this.slots.set(from, [...this.slots.get(from)!, ...slots]);
    }
    return rows;
  }

  /** A tensor that no product reads. */
  weight(name: string): Weight {
    const { gpu, store, slots } = this;
    const { shape } = (tensorsOf(this.config).get(name) ?? towerOf(this.config)?.tensors.get(name))!;
    const weight = store?.has(name) ? store.value(name) : gpu.persistent(shape, this.dtypeOf(name), name, "weights");
    slots.set(name, [{ tensor: weight, shape, start: 0, at: 0 }]);
    return { weight, grad: store?.has(name) ? store.grad(name) : null };
  }

  norm(name: string, zeroCentered: boolean): Norm {
    return { ...this.weight(name), zeroCentered };
  }

  blocks(layers = layersOf(this.config), modules = modulesOf(this.config)): Block[] {
    let at = 0;
    return layers.map(({ prefix, sublayers }) =>
      sublayers.map((spec) => {
        const count = Object.values(spec.groups).flat().length;
        return this.sublayer(spec, modules.slice(at, (at += count)), prefix);
      }),
    );
  }

  /** The vision tower; null if the model has none. */
  tower(): VisionTower | null {
    const { config } = this;
    const found = towerOf(config);
    if (!found) return null;
    const { spec, patch, modules, merger } = found;
    const { linears, grads } = this.parts({ patch: [patch] }, [patch]);
    const last: LayerSpec = { prefix: spec.prefix, sublayers: [spec.merger] };
    const weights = {
      patch: { linears: linears.patch, grads: grads.patch },
      positions: this.weight(`${spec.prefix}.${spec.positions}`),
      blocks: this.blocks(spec.layers, modules),
      merger: this.blocks([last], merger)[0][0],
    };
    const trained = this.store?.parameters.some(({ name }) => name.includes(`${spec.prefix}.`)) ?? false;
    return new VisionTower(config.vision!, spec, weights, trained);
  }

  private sublayer(spec: SublayerSpec, modules: readonly Module[], prefix: string): Sublayer {
    const norm = (of: NormSpec | null): Norm | null => {
      if (!of) return null;
      const scale = this.norm(normName(prefix, of), of.zeroCentered);
      return of.bias ? { ...scale, bias: this.weight(`${prefix}.${of.module}.bias`) } : scale;
    };
    return { pre: norm(spec.pre), body: this.body(spec, modules, prefix), post: norm(spec.post) };
  }

  private body(spec: SublayerSpec, modules: readonly Module[], prefix: string): Body {
    switch (spec.kind) {
      case "attention":
        return new AttentionBody(this.parts(spec.groups, modules), {
          heads: spec.heads,
          norms: this.headNorms(spec, prefix),
          gate: spec.gate,
        });
      case "gatedDeltaNet": {
        const { conv, rate, shift } = spec.own;
        const own = ({ name }: OwnTensor) => this.weight(`${prefix}.${name}`);
        return new GatedDeltaNetBody(this.parts(spec.groups, modules), {
          heads: spec.heads,
          conv: own(conv),
          rate: own(rate),
          shift: own(shift),
          norm: this.weight(normName(prefix, spec.norm)),
        });
      }
      case "swiglu":
        return new SwigluBody(this.parts(spec.groups, modules));
      case "gelu":
        return new GeluBody(this.parts(spec.groups, modules), spec.activation);
    }
  }

  private headNorms({ norms }: AttentionSpec, prefix: string): { q: Norm; k: Norm } | null {
    const norm = (of: NormSpec) => this.norm(normName(prefix, of), of.zeroCentered);
    return norms && { q: norm(norms.q), k: norm(norms.k) };
  }

  /** The linear layers of a body, group by group. */
  private parts<G extends string>(groups: Record<G, readonly unknown[]>, modules: readonly Module[]): BodyParts<G> {
    const { gpu, store, targets, dropout, dtypeOf, slots } = this;
    const parts = { linears: {}, grads: {} } as BodyParts<G>;
    let at = 0;
    for (const [group, { length }] of Object.entries<readonly unknown[]>(groups)) {
      const built = buildGroup(gpu, modules.slice(at, (at += length)), { store, targets, dropout, dtypeOf, slots });
      parts.linears[group as G] = built.map(({ linear }) => linear);
      parts.grads[group as G] = built.map(({ grads }) => grads);
    }
    return parts;
  }
}

/**
 * Compares a checkpoint's tensors with its config.
 *
 * @param vision with those of the vision tower
 * @throws {FormatError} names the first tensor that differs
 */
export function checkTensors(
  config: ModelConfig,
  tensors: ReadonlyMap<string, { shape: readonly number[]; dtype: string }>,
  where: string,
  vision = false,
): void {
  for (const { name, shape } of allTensors(config, vision)) {
    const found = tensors.get(name);
    if (!found) throw new FormatError(`Cannot load ${where}: tensor ${name} [${shape}] is missing`);
    if (found.shape.join() !== shape.join()) {
      throw new FormatError(
        `Cannot load ${where}: tensor ${name} is [${found.shape}]; its config.json requires [${shape}]`,
      );
    }
    const read = isProjection(config, name) ? ["F32", "F16", "BF16", "NF4"] : ["F32", "F16", "BF16"];
    if (!read.includes(found.dtype)) {
      throw new UnsupportedError(
        `Cannot load ${where}: tensor ${name} is ${found.dtype}; ${read.slice(0, -1).join(", ")} and ${read.at(-1)} are read`,
      );
    }
  }
}
