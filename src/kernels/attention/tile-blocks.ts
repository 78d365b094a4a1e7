import type { Shader } from "../../gpu/program.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { AttentionPass } from "./attention-lanes.ts";

/** Consecutive tiles of one dispatch. */
interface TileBlock {
  first: number;
  count: number;
  work: number;
}

/**
 * Cuts a kernel's tiles into dispatches of at most `most` work each, or one tile each: a slow GPU must not be busy for seconds
 * with one dispatch, because Windows and browsers then reset it.
 *
 * @param tiles tiles of one head
 * @param work of all of them
 * @param grows how a tile's work changes with its number: "up" where it reads the rows before it, "down" where it reads those
 *   behind it, "even" where it reads all
 */
export function tileBlocks(tiles: number, work: number, most: number, grows: "up" | "down" | "even"): TileBlock[] {
  const unit = work / (grows === "even" ? tiles : (tiles * (tiles + 1)) / 2);
  const costOf = (tile: number) => unit * (grows === "even" ? 1 : grows === "up" ? tile + 1 : tiles - tile);
  const blocks: TileBlock[] = [];
  for (let tile = 0; tile < tiles; tile++) {
    const cost = costOf(tile);
    const last = blocks[blocks.length - 1];
    if (last && last.work + cost <= most) {
      last.count++;
      last.work += cost;
    } else blocks.push({ first: tile, count: 1, work: cost });
  }
  return blocks;
}

/** Dispatches of one kernel at most: with more, the host would be slower than the GPU, and a forecast of a run that is far too large would not end. */
const MOST_BLOCKS = 256;

/** A kernel of attention with a tile of rows for each workgroup. */
interface TiledKernel {
  shader: Shader;
  variant: object;
  /** own rows of a workgroup */
  rows: number;
  /** own rows are keys: in a causal pass, the first tiles then have the most work */
  keys?: true;
  /** times the forward pass's work */
  cost: number;
}

/** Records a kernel, in several dispatches where one would keep this GPU busy for longer than a submission may. The numbers do not depend on it. */
export function recordTiles(
  record: Recorder,
  { tokens, sizes, params, work }: AttentionPass,
  { shader, variant, rows, keys, cost }: TiledKernel,
  tensors: Record<string, Tensor>,
  more: Record<string, number> = {},
): void {
  const grows = !sizes.causal ? "even" : keys ? "down" : "up";
  const tiles = Math.ceil(tokens / rows);
  const whole = cost * work;
  for (const block of tileBlocks(tiles, whole, Math.max(record.gpu.pace.budget, whole / MOST_BLOCKS), grows)) {
    const all = { ...params, ...more, firstTile: block.first };
    record.dispatch(shader, variant, tensors, all, [block.count, sizes.heads], block.work);
  }
}
