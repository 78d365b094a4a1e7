import { ShapeError, UnsupportedError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { gatherRows, scatterRows } from "../kernels/elementwise.ts";
import type { WeightShard } from "../kernels/embedding/embedding.ts";
import { doraGains } from "../kernels/matmul/dora.ts";
import type { DropoutSeed, Linear } from "../kernels/matmul/linear.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../kernels/norm/rms-norm.ts";
import { uploadBatch } from "./batch-inputs.ts";
import type { SlotCache } from "./cache.ts";
import type { ModelConfig } from "./config.ts";
import { withCopy } from "./frozen-adapter.ts";
import { frozenBlock, type Stream } from "./layers/block.ts";
import { blockBackward, blockForward, releaseBlock, type SavedBlock } from "./layers/block-plans.ts";
import type { Pass, PrefillRows } from "./layers/body.ts";
import { type HeadRows, head, type RowGradient } from "./layers/head.ts";
import { rotaryTable } from "./layers/rope.ts";
import { embedTokens, embedTokensBackward, tableLogits } from "./layers/tables.ts";
import type { ParameterStore } from "./parameters.ts";
import { fitsOnePass, type PackedBatch, passLimits, passParts, runParts, type Targets } from "./pass-parts.ts";
import { type PlacedImages, placeImages, putFeatures, takeFeatureGradient } from "./vision/images.ts";
import type { VisionTower } from "./vision/tower.ts";
import type { Weights } from "./weights.ts";

export type { PackedBatch, Targets } from "./pass-parts.ts";

/** Gradient buffers of the tables; null if frozen. Blocks and norms hold their own. */
interface TableGrads {
  embed: readonly WeightShard[] | null;
  head: readonly WeightShard[] | null;
}

export interface ForwardOptions {
  /** u32 of the dropout masks; null or absent: no dropout */
  dropoutSeed?: number | null;
  /** NEFTune: size of the noise for each token, and the seed */
  noise?: { scale: Float32Array; seed: number } | null;
  inverseTemperature?: number;
  labelSmoothing?: number;
}

/** Rows that predict the next token of their sequence, except where the label is −100. */
export function shiftedTargets(batch: PackedBatch, labels: ArrayLike<number>): Targets {
  const rows: number[] = [];
  const tokens: number[] = [];
  for (let s = 0; s + 1 < batch.cu_seqlens.length; s++) {
    for (let t = batch.cu_seqlens[s]; t + 1 < batch.cu_seqlens[s + 1]; t++) {
      if (labels[t + 1] < 0) continue;
      rows.push(t);
      tokens.push(labels[t + 1]);
    }
  }
  return { rows: Uint32Array.from(rows), tokens: Uint32Array.from(tokens) };
}

/** Data that a forward pass keeps for the backward pass. */
interface ForwardState {
  batch: PackedBatch;
  input: { ids: Tensor; rows: Tensor };
  images: PlacedImages | null;
  pass: Pass;
  norm: { rstd: Tensor; sum: Tensor };
  saved: SavedBlock[];
}

/** What a model may have beside its weights. */
type TrainedParts = Pick<Transformer, "grads" | "store" | "tower">;

/** A decoder on the GPU: forward and backward over packed batches. */
export class Transformer {
  readonly gpu: Gpu;
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly grads: TableGrads | null;
  /** trainable parameters; null for inference */
  readonly store: ParameterStore | null;
  /** null: the model sees no images, or only features of them */
  readonly tower: VisionTower | null;
  /** recompute blocks in the backward pass instead of keeping their activations */
  gradient_checkpointing = true;
  private table: Tensor | null = null;

  constructor(gpu: Gpu, config: ModelConfig, weights: Weights, { grads, store, tower }: TrainedParts) {
    this.gpu = gpu;
    this.config = config;
    this.weights = weights;
    this.grads = grads;
    this.store = store;
    this.tower = tower;
  }

  /**
   * Log-probs of the targets, and with `gradient` the gradients of all trained parameters, added to the store.
   *
   * Records all commands and submits none itself (the recorder splits long work). Activations that exceed a binding are
   * computed by some of the sequences at a time; dropout's masks and NEFTune's noise are those of the whole batch.
   *
   * @returns results per target row, on the GPU; null if there are no targets
   */
  run(
    record: Recorder,
    batch: PackedBatch,
    targets: Targets,
    options: ForwardOptions,
    gradient: RowGradient | null,
  ): HeadRows | null {
    if (targets.rows.length === 0) return null;
    if (gradient && !this.grads)
      throw new ShapeError("Cannot compute gradients: the model has no trainable parameters");
    const most = passLimits(this.config, record.gpu);
    if (fitsOnePass(batch, most)) {
      return this.runWhole(record, batch, targets, options, gradient);
    }
    const { noise = null } = options;
    return record.scope(() =>
      runParts(
        record,
        passParts(batch, targets, most, this.config.vision),
        targets.rows.length,
        gradient,
        (part, own) => {
          const scale = noise?.scale.subarray(part.token, part.token + part.batch.input_ids.length);
          const given = { ...options, noise: noise && { scale: scale!, seed: noise.seed }, first: part.token };
          return this.runWhole(record, part.batch, part.targets, given, own);
        },
      ),
    );
  }

  /** `run` of a batch whose activations fit. @param options.first token of the whole batch that its token 0 is */
  private runWhole(
    record: Recorder,
    batch: PackedBatch,
    targets: Targets,
    options: ForwardOptions & { first?: number },
    gradient: RowGradient | null,
  ): HeadRows | null {
    if (targets.rows.length === 0) return null;
    const { config, weights } = this;
    const grads = gradient ? this.grads : null;
    return record.scope(() => {
      this.begin(record);
      const input = this.upload(record, batch, targets);
      const { dropoutSeed = null, first = 0 } = options;
      const masks = dropoutSeed === null ? null : { seed: dropoutSeed, row: first };
      const training = { gradient: grads !== null, dropoutSeed };
      const images = batch.images ? placeImages(record, this, batch, batch.images, training) : null;
      const pass = { ...this.pass({ ...input, ...rotationOf(images) }, masks), saves: grads !== null };
      const noise = options.noise
        ? {
            noise: {
              scale: record.upload(options.noise.scale, [options.noise.scale.length], "noise"),
              seed: options.noise.seed,
            },
            first,
          }
        : {};
      let stream = { x: embedTokens(record, input.ids, weights, noise), delta: null as Tensor | null };
      if (images) putFeatures(record, images, stream.x);
      const saved: SavedBlock[] = [];
      const keep = grads !== null && !this.gradient_checkpointing;
      // what goes on is f32, and not what is kept in bf16
      const goesOn = keep && this.gpu.activations === "f32";
      for (const block of weights.blocks) {
        const before = stream;
        const done = blockForward(record, block, pass, stream, { keep });
        stream = done.stream;
        if (grads) saved.push(done.saved);
        else releaseBlock(record, done.saved);
        if (before.delta) record.release(before.delta, goesOn ? null : before.x); // added into the block's own input
      }
      const norm = rmsNorm(record, stream.x, weights.norm, config.rms_norm_eps, stream.delta);
      record.release(stream.delta, goesOn ? null : stream.x);
      const hidden = gatherRows(record, norm.y, input.rows);
      record.release(norm.y);
      const { rows, dHidden } = head(
        record,
        hidden,
        input.targets,
        weights.head,
        {
          vocab: config.vocab_size,
          own: weights.rows.head,
          inverseTemperature: options.inverseTemperature,
          labelSmoothing: options.labelSmoothing,
        },
        grads && gradient ? { dObjective: gradient, dWeight: grads.head } : null,
      );
      record.release(hidden);
      if (grads && dHidden) this.backward(record, { batch, input, images, pass, norm, saved }, dHidden, grads);
      return rows;
    });
  }

  /**
   * Final-normed hidden rows of a batch, `[tokens, hidden]`, without gradients.
   *
   * @param prefill caches to fill, and where the batch's rows and sequences go in them
   */
  forward(
    record: Recorder,
    batch: PackedBatch,
    prefill: { cache: SlotCache; rows: PrefillRows } | null = null,
  ): Tensor {
    const { config, weights } = this;
    return record.scope(() => {
      this.begin(record);
      const none = { rows: new Uint32Array([0]), tokens: new Uint32Array([0]) };
      const input = this.upload(record, batch, none);
      const images = batch.images
        ? placeImages(record, this, batch, batch.images, { gradient: false, dropoutSeed: null })
        : null;
      const pass = this.pass({ ...input, ...rotationOf(images) }, null, prefill?.rows);
      let stream: Stream = { x: embedTokens(record, input.ids, weights), delta: null };
      if (images) putFeatures(record, images, stream.x);
      weights.blocks.forEach((block, layer) => {
        const before = stream;
        const done = blockForward(record, block, pass, stream, { caches: prefill?.cache.layers[layer] });
        stream = done.stream;
        releaseBlock(record, done.saved);
        if (before.delta) record.release(before.x, before.delta);
      });
      return rmsNorm(record, stream.x, weights.norm, config.rms_norm_eps, stream.delta).y;
    });
  }

  /** Every linear layer of the blocks, then those of the vision tower. */
  get linears(): readonly Linear[] {
    const own = this.weights.blocks.flat().flatMap(({ body }) => Object.values(body.linears).flat());
    return [...own, ...(this.tower?.linears ?? [])];
  }

  /** Prepares what depends on trained parameters: DoRA's gains. A frozen adapter's are computed once, where it is loaded. */
  private begin(record: Recorder): void {
    if (this.store) for (const layer of this.linears) doraGains(record, layer);
  }

  /** Logits of every token `[tokens, vocab]`, for parity checks on small models. */
  async logits(batch: PackedBatch): Promise<Float32Array> {
    const record = this.gpu.recorder();
    const tokens = batch.input_ids.length;
    const vocab = this.config.vocab_size;
    const out = new Float32Array(tokens * vocab);
    const parts = record.scope(() => {
      const hidden = this.forward(record, batch);
      const { head, rows } = this.weights;
      return tableLogits(record, hidden, { head, own: rows.head }).map(({ tensor, start }) => ({
        start,
        cols: tensor.shape[1],
        data: record.read(tensor),
      }));
    });
    record.submit();
    for (const { start, cols, data } of parts) {
      const values = new Float32Array(await data);
      for (let t = 0; t < tokens; t++) out.set(values.subarray(t * cols, (t + 1) * cols), t * vocab + start);
    }
    return out;
  }

  /**
   * The same model without its adapter: the reference of a new adapter, and the baseline for an adapter. Shares all weights.
   *
   * @throws {UnsupportedError} a model that trains more than an adapter: its original weights are gone
   */
  withoutAdapter(): Transformer {
    const { gpu, config, weights, tower } = this;
    this.refuseTrained(/\.lora_(?:[AB]\.|magnitude_vector$)|\.trainable_tokens_delta$/);
    const off = (linear: Linear) => ({ ...linear, lora: null });
    const blocks = weights.blocks.map((block) => frozenBlock(block, off));
    const norm = { ...weights.norm, grad: null };
    const rows = { embed: null, head: null };
    return new Transformer(gpu, config, { ...weights, rows, norm, blocks }, { grads: null, store: null, tower });
  }

  /**
   * The same model with a copy of its current adapter and tables, which training does not change: the reference if training
   * continues from an adapter, or trains tables beside it. Shares all other weights. Submits the copy.
   *
   * @throws {UnsupportedError} a model that trains more than an adapter
   */
  withFrozenAdapter(): Transformer {
    const { gpu, config, weights, store, tower } = this;
    this.refuseTrained(/\.lora_(?:[AB]\.|magnitude_vector$)|^base_model\.model\./);
    const record = gpu.recorder();
    const kept = withCopy(record, weights, store!.values);
    const frozen = new Transformer(gpu, config, kept, { grads: null, store: null, tower });
    for (const layer of frozen.linears) doraGains(record, layer);
    record.submit();
    return frozen;
  }

  /** @throws {UnsupportedError} a trained parameter whose name is another than these */
  private refuseTrained(allowed: RegExp): void {
    const other = this.store?.parameters.find(({ name }) => !allowed.test(name));
    if (!other) return;
    throw new UnsupportedError(
      `Cannot run the model without its adapter: ${other.name} itself is trained; use LoRA, or a loss without a reference`,
    );
  }

  /** The inputs that the blocks of a decoding pass share. @param positions u32 `[rows]`, all below `longest` */
  passOf(positions: Tensor, longest: number): Pass {
    this.growTable(longest);
    return this.pass({ positions, spans: positions, chunks: null }, null); // no packed batch: nothing reads the spans
  }

  private backward(
    record: Recorder,
    { batch, input, images, pass, norm, saved }: ForwardState,
    dHidden: Tensor,
    grads: TableGrads,
  ): void {
    const { weights } = this;
    const own = weights.rows.embed;
    const embedded = grads.embed !== null || own?.grad != null;
    const dNormed = record.zeros(norm.sum.shape, "f32", "d.normed");
    scatterRows(record, dHidden, input.rows, dNormed);
    record.release(dHidden);
    const { grad } = weights.norm;
    if (grad) rmsNormWeightBackward(record, norm.sum, norm.rstd, dNormed, grad);
    const g = rmsNormBackward(record, norm.sum, weights.norm, norm.rstd, dNormed);
    record.release(dNormed, norm.sum, norm.rstd);
    for (let layer = weights.blocks.length - 1; layer >= 0; layer--) {
      const kept = saved[layer];
      blockBackward(record, weights.blocks[layer], pass, kept, g, layer > 0 || embedded || images?.backward != null);
      releaseBlock(record, kept);
    }
    if (images && (embedded || images.backward)) takeFeatureGradient(record, images, g);
    embedTokensBackward(record, g, batch.input_ids, { grads: grads.embed, own });
  }

  private upload(record: Recorder, batch: PackedBatch, targets: Targets) {
    const { longest, ...inputs } = uploadBatch(record, this.config, batch, targets);
    this.growTable(longest);
    return inputs;
  }

  private pass(
    {
      positions,
      spans,
      chunks,
      table = this.table!,
    }: Pick<Pass, "positions" | "spans" | "chunks"> & { table?: Tensor },
    dropoutSeed: DropoutSeed | null,
    prefill: PrefillRows | null = null,
  ): Pass {
    return { eps: this.config.rms_norm_eps, table, positions, spans, saves: false, chunks, dropoutSeed, prefill };
  }

  /**
   * Cosines and sines for at least `positions` positions, rounded up to a power of two so that the table seldom grows.
   */
  private growTable(positions: number): void {
    if (this.table && this.table.shape[0] >= positions) return;
    const rows = 2 ** Math.ceil(Math.log2(Math.max(64, positions)));
    // The old table stays allocated as long as the model: work in flight may still read it.
    this.table = this.gpu.upload(
      rotaryTable(this.config, rows),
      [rows, this.config.rotary_dim],
      "f32",
      "rotary",
      "weights",
    );
  }
}

/** The positions of a batch with images, instead of position_ids. */
function rotationOf(images: PlacedImages | null): Partial<Pick<PlacedImages, "table" | "positions">> {
  return images ? { table: images.table, positions: images.positions } : {};
}
