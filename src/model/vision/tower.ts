import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import { spansOf } from "../../kernels/attention/attention.ts";
import type { Linear, LinearGrads } from "../../kernels/matmul/linear.ts";
import { layerNormBackward } from "../../kernels/norm/layer-norm.ts";
import { blendRows, transposeSparse } from "../../kernels/vision/blend-rows.ts";
import type { TowerSpec, VisionConfig } from "../architectures/architecture.ts";
import type { Block, Stream, Sublayer } from "../layers/block.ts";
import { blockBackward, blockForward, releaseBlock, type SavedBlock } from "../layers/block-plans.ts";
import type { Pass, Trace } from "../layers/body.ts";
import { linear, linearBackward } from "../layers/linear.ts";
import { addAndNorm, layerNormGradients, type Normed, type Weight } from "../layers/norm.ts";
import { frameStarts, type ImageGrid, patchCount, patchRotation, positionBlend } from "./places.ts";

/** Weights of a vision tower. */
interface TowerWeights {
  patch: { linears: readonly Linear[]; grads: readonly LinearGrads[] };
  /** table of learned positions */
  positions: Weight;
  blocks: readonly Block[];
  /** norms every patch, then maps the patches of each block to a token */
  merger: Sublayer;
}

/** Images, as their processor makes them. */
export interface Patches {
  /** `[patches, channels · frames · size · size]`, the images one after the other */
  pixels: Float32Array;
  grids: readonly ImageGrid[];
}

/** Kept from the forward pass for the backward pass. */
interface TowerSaved {
  pixels: Tensor;
  grids: readonly ImageGrid[];
  pass: Pass;
  blocks: readonly SavedBlock[];
  merger: { input: Normed; trace: Omit<Trace, "y"> };
}

/** The vision tower of a model on the GPU: patches of images in, features of tokens out. */
export class VisionTower {
  readonly config: VisionConfig;
  /** whether any of its parameters, or an adapter of it, is trained */
  readonly trained: boolean;
  private readonly spec: TowerSpec;
  private readonly weights: TowerWeights;

  /** names the adapter that is set on it, so that features with and without it are not mistaken for each other; null: none */
  adapterKey: string | null = null;

  constructor(config: VisionConfig, spec: TowerSpec, weights: TowerWeights, trained: boolean) {
    this.config = config;
    this.spec = spec;
    this.weights = weights;
    this.trained = trained;
  }

  /** Every linear layer that an adapter may change, block by block, then the merger's. */
  get linears(): readonly Linear[] {
    const { blocks, merger } = this.weights;
    return [...blocks.flat(), merger].flatMap(({ body }) => Object.values(body.linears).flat());
  }

  /**
   * Features of images.
   *
   * @param keep for a backward pass
   * @param dropoutSeed u32 of an adapter's dropout masks; null: no dropout
   * @returns features `[merged patches, out_hidden_size]`, and what `backward` needs
   * @throws {ShapeError} pixels that do not fit the grids, or a grid that is no whole number of merged patches
   */
  forward(
    record: Recorder,
    patches: Patches,
    { keep = false, dropoutSeed = null }: { keep?: boolean; dropoutSeed?: number | null } = {},
  ): { features: Tensor; saved: TowerSaved | null } {
    const { weights, spec, config } = this;
    const { grids } = patches;
    const pixels = this.upload(record, patches);
    return record.scope(() => {
      const pass = this.pass(record, grids, keep, dropoutSeed);
      const { y: x } = linear(record, pixels, weights.patch.linears, null, { label: "patches" });
      const blend = positionBlend(grids, spec.grid, config.spatial_merge_size);
      blendRows(record, weights.positions.weight, blend, x);
      let stream: Stream = { x, delta: null };
      const blocks: SavedBlock[] = [];
      for (const block of weights.blocks) {
        const before = stream;
        const done = blockForward(record, block, pass, stream);
        stream = done.stream;
        if (keep) blocks.push(done.saved);
        else releaseBlock(record, done.saved);
        if (before.delta) record.release(before.delta, before.x);
      }
      const { pre, body } = weights.merger;
      const input = addAndNorm(record, pre, spec.eps, stream.x, stream.delta);
      const { y: features, ...trace } = body.forward(record, pass, this.merged(input.y), { keep });
      if (!keep) return { features, saved: null };
      return { features, saved: { pixels, grids, pass, blocks, merger: { input, trace } } };
    });
  }

  /** Adds the gradients of the tower's parameters. @param dFeatures shaped like the features */
  backward(record: Recorder, { pixels, grids, pass, blocks, merger }: TowerSaved, dFeatures: Tensor): void {
    const { weights, spec, config } = this;
    record.scope(() => {
      const { input, trace } = merger;
      const { grad } = weights.positions;
      const dMerged = trace.backward(this.merged(input.y), dFeatures, true)!;
      const dNormed = view(dMerged, input.y.shape);
      layerNormGradients(record, weights.merger.pre!, input, dNormed);
      const g = layerNormBackward(record, input.sum, weights.merger.pre!, input.rstd!, dNormed);
      for (let layer = weights.blocks.length - 1; layer >= 0; layer--) {
        blockBackward(record, weights.blocks[layer], pass, blocks[layer], g, layer > 0 || grad !== null);
        releaseBlock(record, blocks[layer]);
      }
      if (!grad) return;
      const blend = positionBlend(grids, spec.grid, config.spatial_merge_size);
      blendRows(record, g, transposeSparse(blend, grad.shape[0]), grad);
      const { linears, grads } = weights.patch;
      linearBackward(record, pixels, g, linears, { saved: [null], grads, dropoutSeed: null, needsInput: false });
    });
  }

  /** The same values, the patches of each block side by side: they follow each other in memory. */
  private merged(x: Tensor): Tensor {
    const joined = this.config.spatial_merge_size ** 2;
    return view(x, [x.shape[0] / joined, x.shape[1] * joined]);
  }

  private upload(record: Recorder, { pixels, grids }: Patches): Tensor {
    const { spatial_merge_size: merge } = this.config;
    const { inner } = this.spec.patch.projection;
    const odd = grids.find(([, h, w]) => h % merge !== 0 || w % merge !== 0);
    if (odd) throw new ShapeError(`Cannot see an image of ${odd[1]}×${odd[2]} patches: ${merge}×${merge} are merged`);
    const count = patchCount(grids);
    if (count === 0 || pixels.length !== count * inner) {
      throw new ShapeError(
        `Cannot see ${grids.length} images of ${count} patches in ${pixels.length} values: a patch has ${inner}`,
      );
    }
    return record.upload(pixels, [count, inner], "pixels");
  }

  private pass(record: Recorder, grids: readonly ImageGrid[], saves: boolean, dropoutSeed: number | null): Pass {
    const { hidden_size, num_heads } = this.config;
    const count = patchCount(grids);
    const table = patchRotation(grids, this.config);
    return {
      eps: this.spec.eps,
      table: record.upload(table, [count, hidden_size / num_heads], "patches.rotary"),
      positions: record.upload(
        Uint32Array.from({ length: count }, (_, i) => i),
        [count],
        "patches.positions",
      ),
      spans: record.upload(spansOf(frameStarts(grids)), [count, 2], "patches.spans"),
      dropoutSeed,
      saves,
      chunks: null,
      prefill: null,
    };
  }
}
