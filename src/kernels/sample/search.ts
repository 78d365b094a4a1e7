import {
  BOUNDS,
  sampleMasses as massesShader,
  ROUNDS,
  SEARCH_WORDS,
  sampleSearch as searchShader,
} from "../../../shaders/sample/sample-search.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { WORKGROUP } from "../grid.ts";

/** Most workgroups that sum up one row in a round. */
const SPLITS = 32;

/** Processors as `sample_pick` takes them. */
interface SearchOptions {
  topK: boolean;
  topP: boolean;
  minP: boolean;
  params: { topK: number; topP: number; logMinP: number };
  tile: number;
}

/**
 * Finds each row's threshold of top-k, top-p and min-p with many workgroups a row, and what `sample_pick` then needs of each
 * tile. Records `ROUNDS` short dispatches for top-k and for top-p, and one more.
 *
 * @param scores f32 `[rows, tiles · tile]`
 * @param stats f32 `[rows, tiles, TILE_STATE]`, of `sample_scores`; numbers 6 and 7 of each tile are written
 * @param kept f32 `[rows, 4]`: threshold, number wanted of the scores equal to it (0: all)
 * @see shaders/sample/sample-search.wgsl.ts
 */
export function searchThresholds(
  record: Recorder,
  { scores, stats, kept }: { scores: Tensor; stats: Tensor; kept: Tensor },
  { topK, topP, minP, params, tile }: SearchOptions,
): void {
  const [rows, tiles] = stats.shape;
  const each = Math.ceil(tiles / SPLITS);
  const splits = Math.ceil(tiles / each);
  const variant = { tile, workgroup: WORKGROUP };
  const states = record.empty([rows, 2, SEARCH_WORDS], "u32", "sample.states", "scratch");
  const partials = [0, 1].map((n) => record.empty([rows, splits, BOUNDS], "f32", `sample.partials ${n}`, "scratch"));
  const searches = [topK, topP].flatMap((runs, byMass) => (runs ? [byMass] : []));
  let round = 0;
  for (const byMass of searches) {
    for (let n = 0; n < ROUNDS; n++, round++) {
      const [sums, before] = [partials[round % 2], partials[(round + 1) % 2]];
      record.dispatch(
        searchShader,
        variant,
        { scores, stats, partials: before, states, sums },
        { tiles, splits, each, round, begins: Number(n === 0), byMass, ...params },
        [splits, rows],
      );
    }
  }
  record.dispatch(
    massesShader,
    { searched: searches.length > 0, minP, ...variant },
    { scores, stats, partials: partials[(round + 1) % 2], states, kept },
    { tiles, splits, each, round, begins: 0, byMass: 0, ...params },
    [tiles, rows],
  );
}
