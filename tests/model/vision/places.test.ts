import { describe, expect, it } from "vitest";
import { parseModelConfig } from "../../../src/model/config.ts";
import {
  frameStarts,
  type ImageGrid,
  nextPosition,
  patchRotation,
  positionBlend,
  tokenPlaces,
  tokenRotation,
} from "../../../src/model/vision/places.ts";
import { visionConfig } from "./fixtures.ts";

const config = parseModelConfig(visionConfig());
const vision = config.vision!;
const IMAGE = vision.image_token_id;
const rowsOf = (positions: Uint32Array) =>
  Array.from({ length: positions.length / 3 }, (_, t) => [...positions.subarray(3 * t, 3 * t + 3)].join());

describe("tokens", () => {
  it("take positions along three axes, and text after an image goes on after its larger side", () => {
    const grids: ImageGrid[] = [
      [1, 4, 6],
      [1, 2, 2],
    ];
    // a row with an image of 2 × 3 tokens between text; a row of text; a row that begins with an image of one token
    const ids = [5, ...Array<number>(6).fill(IMAGE), 5, 5, 1, 1, IMAGE, 9];
    const { rows, positions } = tokenPlaces(ids, [0, 9, 11, 13], grids, vision);
    expect([...rows]).toEqual([1, 2, 3, 4, 5, 6, 11]);
    expect(rowsOf(positions)).toEqual([
      "0,0,0",
      ...["1,1,1", "1,1,2", "1,1,3", "1,2,1", "1,2,2", "1,2,3"],
      ...["4,4,4", "5,5,5"],
      ...["0,0,0", "1,1,1"],
      ...["0,0,0", "1,1,1"],
    ]);
    expect(nextPosition(positions.subarray(0, 27))).toBe(6);
  });

  it("are refused if they do not fit the images", () => {
    const places = (ids: number[], grids: ImageGrid[]) => tokenPlaces(ids, [0, ids.length], grids, vision);
    expect(() => places([1, IMAGE, IMAGE, 1], [[1, 4, 4]])).toThrow(
      "Cannot place image 0 of 4×4 patches at token 1: it needs 4 image tokens side by side, and 2 are there",
    );
    expect(() => places([IMAGE, 1, IMAGE], [[1, 2, 2]])).toThrow("token 2 is an image token, and all 1 images have");
    expect(() => places([1, 2], [[1, 2, 2]])).toThrow("the tokens hold 0 images, and 1 are given");
    // two images side by side are two runs
    expect(rowsOf(places([IMAGE, IMAGE], Array(2).fill([1, 2, 2])).positions)).toEqual(["0,0,0", "1,1,1"]);
  });

  it("turn by height and width where the frequencies interleave, and by time elsewhere", () => {
    const half = config.rotary_dim / 2;
    const table = tokenRotation(config, Uint32Array.of(1, 20, 300, 2, 2, 2));
    const plain = (position: number, i: number) => Math.cos(position * config.rope_theta ** ((-2 * i) / (2 * half)));
    // sections 3, 3, 2 of 8: index 1, 4, 7 by height, 2, 5 by width
    const axes = [1, 20, 300, 1, 20, 300, 1, 20];
    axes.forEach((position, i) => {
      expect(table[i]).toBeCloseTo(plain(position, i), 4);
      expect(table[2 * half + i]).toBeCloseTo(plain(2, i), 4);
    });
  });
});

describe("patches", () => {
  it("lie block by block, and their rotation is of row, then column", () => {
    const table = patchRotation([[1, 4, 4]], vision);
    const size = vision.hidden_size / vision.num_heads;
    // the first frequency is 1: its cosine tells the place
    const place = (p: number) => [table[p * size], table[p * size + size / 4]].map((c) => Math.round(Math.acos(c)));
    const blocks = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((p) => place(p).join());
    expect(blocks).toEqual(["0,0", "0,1", "1,0", "1,1", "0,2", "0,3", "1,2", "1,3", "2,0"]);
    expect(
      frameStarts([
        [1, 4, 4],
        [2, 2, 4],
      ]),
    ).toEqual([0, 16, 24, 32]);
  });

  it("take learned positions of the corners exactly, and blends between them", () => {
    const { starts, sources, factors } = positionBlend([[1, 4, 2]], 6, 2);
    expect(starts.at(-1)).toBe(32);
    const at = (p: number) => {
      const entries: [number, number][] = [0, 1, 2, 3].map((e) => [sources[4 * p + e], factors[4 * p + e]]);
      return entries.filter(([, factor]) => factor > 0).map(([source, factor]) => [source, Number(factor.toFixed(4))]);
    };
    expect(at(0)).toEqual([[0, 1]]);
    expect(at(1)).toEqual([[5, 1]]);
    expect(at(7)).toEqual([[35, 1]]);
    // row 1 of 4 is at 5/3 of the learned rows 0 to 5
    expect(at(2)).toEqual([
      [6, 0.3333],
      [12, 0.6667],
    ]);
  });
});
