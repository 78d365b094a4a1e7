import type { GpuContext } from "../../gpu/context.ts";
import { type Described, Descriptions } from "../../gpu/described.ts";
import type { Plan } from "../../gpu/plan.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { maskSeed } from "../../kernels/matmul/linear.ts";
import { type Block, type BlockCache, type BlockSaved, backward, forward, keptBy, type Stream } from "./block.ts";
import type { Pass } from "./body.ts";

// The layers of a model are alike, and so are its steps. What a block records is noted for each shape once, and then followed with
// the tensors of other layers and of later steps.

/** Shapes whose plans are known, at most. */
const MOST = 64;

/** The plans of one kind of block in passes of one shape. Null: it cannot be planned. Absent: not noted yet. */
interface Known {
  forward?: Plan | null;
  /** by whether the input needs a gradient */
  backward: Map<boolean, Plan | null>;
}

/** Plans of an adapter's blocks, the least recently used first. */
class Plans {
  readonly blocks = new Descriptions({
    // LoRA's dropout masks
    apart: (of, name) => name === "index" && "aAt" in of,
    // adapters are swapped
    mutable: ["lora"],
  });
  readonly passes = new Descriptions({ apart: (_, name) => name === "dropoutSeed" });
  readonly caches = new Descriptions();
  private readonly byKey = new Map<string, Known>();
  private readonly byPass = new WeakMap<Pass, Map<number, Known>>();

  /** The plans for a key, which is written out once for each pass and kind of block. */
  of(pass: Pass, kind: number, key: () => string): Known {
    let known = this.byPass.get(pass);
    if (!known) this.byPass.set(pass, (known = new Map()));
    let plans = known.get(kind);
    if (!plans) known.set(kind, (plans = this.recent(key())));
    return plans;
  }

  private recent(key: string): Known {
    const plans = this.byKey.get(key) ?? { backward: new Map() };
    this.byKey.delete(key);
    this.byKey.set(key, plans);
    for (const old of this.byKey.keys()) {
      if (this.byKey.size <= MOST) break;
      this.byKey.delete(old);
    }
    return plans;
  }
}

const all = new WeakMap<GpuContext, Plans>();

interface Options {
  /** to fill with the rows in `pass.prefill`; null: none */
  caches?: BlockCache | null;
  /** keep everything that the backward pass reads, including the stream's `x`, instead of recomputing it */
  keep?: boolean;
}

/** A use of plans by a block and a pass. */
interface Use {
  known: Known;
  /** of the pass, the block and its caches */
  tensors: readonly (Tensor | null)[];
  seeds: readonly number[];
}

/** Data of a block for its backward pass. */
export interface SavedBlock {
  /** what is kept; released by `releaseBlock` */
  tensors: readonly (Tensor | null)[];
  use: Use | null;
  /** the block's own account; null after a plan was followed */
  own: BlockSaved | null;
  /** makes the account */
  again: () => BlockSaved;
}

/**
 * One decoder block on a packed batch: see `forward` of block.ts.
 *
 * @param stream residual stream [tokens, hidden] from the previous block
 * @returns the stream after the block, and the data for the backward pass
 */
export function blockForward(
  record: Recorder,
  block: Block,
  pass: Pass,
  stream: Stream,
  options: Options = {},
): { stream: Stream; saved: SavedBlock } {
  const use = useOf(record, block, pass, stream, options);
  const body = () => forward(record, block, pass, stream, options);
  const given = use && [stream.x, stream.delta, ...use.tensors];
  const plan = use?.known.forward;
  if (use && plan) {
    const results = record.follow(plan, given!, use.seeds, block);
    const [x, delta, ...tensors] = results;
    const again = () => record.rehearse(plan, results, body).saved;
    return { stream: { x: x!, delta }, saved: { tensors, use, own: null, again } };
  }
  let done: ReturnType<typeof forward> | null = null;
  const results = () => {
    done = body();
    return [done.stream.x, done.stream.delta, ...keptBy(done.saved)];
  };
  if (use && plan === undefined) use.known.forward = record.plan(given!, use.seeds, results);
  else results();
  const { stream: after, saved } = done!;
  return { stream: after, saved: { tensors: keptBy(saved), use, own: saved, again: () => saved } };
}

/**
 * Backward pass of one block: see `backward` of block.ts.
 *
 * @param g gradient of the block's output [tokens, hidden] f32, which becomes that of its input, in place
 * @param needsInput false for the first block if the embeddings are frozen: `g` is then incomplete
 */
export function blockBackward(
  record: Recorder,
  block: Block,
  pass: Pass,
  saved: SavedBlock,
  g: Tensor,
  needsInput: boolean,
): void {
  const { use, tensors } = saved;
  const plans = use?.known.backward;
  const plan = plans?.get(needsInput);
  const given = use && [g, ...tensors, ...use.tensors];
  if (plan) {
    record.follow(plan, given!, use!.seeds, block);
    return;
  }
  const own = saved.own ?? saved.again();
  const body = () => {
    backward(record, block, pass, own, g, needsInput);
    return [];
  };
  if (plans && plan === undefined && !record.planning) plans.set(needsInput, record.plan(given!, use!.seeds, body));
  else body();
}

/** Releases the tensors that a block kept. */
export function releaseBlock(record: Recorder, { tensors }: SavedBlock): void {
  record.release(...new Set(tensors));
}

/** The plans of a block in this pass; null: it is recorded by itself. */
function useOf(record: Recorder, block: Block, pass: Pass, { x, delta }: Stream, options: Options): Use | null {
  const { gpu } = record;
  const { caches = null, keep = false } = options;
  // a texture's copy is made when a dispatch needs it
  if (gpu.profile.operands === "textures" || record.planning) return null;
  let plans = all.get(gpu);
  if (!plans) all.set(gpu, (plans = new Plans()));
  const [own, shared] = [plans.blocks.of(block), plans.passes.of(pass)];
  const filled = caches && plans.caches.of(caches);
  const seeds = own && seedsOf(pass, own);
  if (!own || !shared || !seeds || (caches && !filled)) return null;
  const { dropoutSeed } = pass;
  const row = dropoutSeed === null ? "none" : typeof dropoutSeed === "number" ? 0 : dropoutSeed.row;
  const kind = 4 * (2 ** 20 * own.id + (filled ? filled.id + 1 : 0)) + (delta ? 2 : 0) + (keep ? 1 : 0);
  const known = plans.of(pass, kind, () => {
    const { tuning, precision, activations } = gpu;
    const shapes = [x, delta].map((one) => one && `${one.dtype}[${one.shape}]`);
    return [kind, shared.id, row, tuning.version, precision, activations, ...shapes].join(" ");
  });
  return { known, tensors: [...shared.tensors, ...own.tensors, ...(filled?.tensors ?? [])], seeds };
}

/** Seeds of the block's dropout masks; null if a plan could not tell them apart. */
function seedsOf({ dropoutSeed: of }: Pass, { apart }: Described): readonly number[] | null {
  if (of === null) return [];
  const seed = typeof of === "number" ? of : of.seed;
  const seeds = apart.map((index) => maskSeed(seed, index));
  return seeds.includes(0) || new Set(seeds).size < seeds.length ? null : seeds;
}
