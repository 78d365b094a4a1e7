import { describe, expect, test } from "vitest";
import { ShapeError } from "../../src/errors.ts";
import { dynamicMap } from "../../src/io/dynamic-map.ts";
import {
  dequantizeNf4,
  encodeInt8,
  encodeNf4,
  NESTED_BLOCK,
  nestAbsmax,
  quantizeNf4,
  unnestAbsmax,
} from "../../src/io/nf4.ts";

/** The map of the QLoRA paper's appendix E, as in bitsandbytes, and the thresholds between its values. */
const PUBLISHED = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
];
const POINTS = [
  -0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
  -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
  0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
];
const word = new Uint32Array(1);
/** The next f32 above or below. */
function neighbour(value: number, step: 1 | -1): number {
  const single = new Float32Array(word.buffer);
  single[0] = value;
  word[0] += value >= 0 ? step : -step;
  return single[0];
}
const codesOf = (bytes: Uint8Array, n: number) =>
  Array.from({ length: n }, (_, i) => (bytes[i >> 1] >> (i & 1 ? 0 : 4)) & 15);

describe("NF4", () => {
  test("maps each published value to its own code, the first of a byte in the high half", () => {
    const { codes, absmax } = quantizeNf4(Float32Array.from(PUBLISHED));
    expect(codesOf(codes, 16)).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect(codes[0]).toBe(0x01);
    expect(absmax).toEqual(Float32Array.of(1));
    expect(dequantizeNf4(codes, absmax, 16)).toEqual(Float32Array.from(PUBLISHED));
  });

  test.each(POINTS.map((point, lower) => ({ point, lower })))(
    "from $point on code $lower gives way",
    ({ point, lower }) => {
      const near = [neighbour(point, -1), point, neighbour(point, 1)];
      const { codes } = quantizeNf4(Float32Array.of(1, ...near)); // the 1 keeps the block's scale 1
      expect(codesOf(codes, 4).slice(1)).toEqual([lower, lower, lower + 1]);
    },
  );

  test("divides each block of 64 by its own largest magnitude, the last one shorter", () => {
    const values = Float32Array.from({ length: 150 }, (_, i) => Math.sin(i) * 10 ** (Math.floor(i / 64) - 1));
    const { codes, absmax, nested } = quantizeNf4(values);
    expect(nested).toBeNull();
    expect(absmax).toHaveLength(3);
    for (let block = 0; block < 3; block++) {
      const own = values.subarray(64 * block, 64 * block + 64);
      expect(absmax[block]).toBe(Math.max(...own.map(Math.abs)));
    }
    const back = dequantizeNf4(codes, absmax, 150);
    codesOf(codes, 150).forEach((code, i) => {
      expect(back[i]).toBe(Math.fround(Math.fround(PUBLISHED[code]) * absmax[i >> 6]));
      const miss = PUBLISHED.map((value) => Math.abs(value - values[i] / absmax[i >> 6]));
      expect(miss[code]).toBeLessThanOrEqual(Math.min(...miss) + 1e-6);
    });
  });

  test("decodes a block of zeros as zeros, also with an odd length", () => {
    const { codes, absmax } = quantizeNf4(new Float32Array(65));
    expect(dequantizeNf4(codes, absmax, 65)).toEqual(new Float32Array(65));
  });

  test("pieces of whole blocks give the same result as the whole tensor", () => {
    const values = Float32Array.from({ length: 640 }, (_, i) => Math.cos(i * i));
    const whole = quantizeNf4(values);
    const [codes, absmax] = [new Uint8Array(320), new Float32Array(10)];
    encodeNf4(values.subarray(0, 128), codes.subarray(0, 64), absmax.subarray(0, 2));
    encodeNf4(values.subarray(128), codes.subarray(64), absmax.subarray(2));
    expect(codes).toEqual(whole.codes);
    expect(absmax).toEqual(whole.absmax);
    expect(() => encodeNf4(values, codes, absmax.subarray(1))).toThrow(ShapeError);
  });

  test("double quantisation keeps scales as codes of the dynamic map around their mean, blocks of 256", () => {
    const scales = Float32Array.from({ length: 600 }, (_, i) => 0.02 + 0.01 * Math.sin(i));
    const { nested, absmax } = nestAbsmax(scales);
    expect(nested.offset).toBe(Math.fround(scales.reduce((sum, v) => sum + v, 0) / 600));
    expect(nested.absmax).toHaveLength(3);
    const map = dynamicMap(true);
    scales.forEach((scale, i) => {
      const most = nested.absmax[Math.floor(i / NESTED_BLOCK)];
      const want = Math.fround(Math.fround(Math.fround(map[nested.codes[i]]) * most) + nested.offset);
      expect(absmax[i]).toBe(want);
      const miss = Array.from(map, (value) => Math.abs(value * most + nested.offset - scale));
      expect(Math.abs(absmax[i] - scale)).toBeLessThanOrEqual(Math.min(...miss) + 1e-8);
    });
    expect(unnestAbsmax(nested)).toEqual(absmax);
    const whole = quantizeNf4(
      Float32Array.from({ length: 600 * 64 }, (_, i) => Math.sin(i)),
      { double: true },
    );
    expect(whole.nested!.codes).toHaveLength(600);
    expect(whole.absmax).toEqual(unnestAbsmax(whole.nested!));
  });
});

test("int8 has one scale per 64 values, and an error of at most half a step", () => {
  const values = Float32Array.from({ length: 200 }, (_, i) => Math.sin(i) * (i < 64 ? 3 : 0.1));
  const [codes, scales] = [new Int8Array(200), new Float32Array(4)];
  encodeInt8(values, codes, scales);
  expect(Math.max(...codes)).toBe(127);
  values.forEach((value, i) => {
    expect(Math.abs(codes[i] * scales[i >> 6] - value)).toBeLessThanOrEqual(scales[i >> 6] * 0.5001);
  });
  encodeInt8(new Float32Array(200), codes, scales);
  expect(codes).toEqual(new Int8Array(200));
});
