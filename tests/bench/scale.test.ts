import { expect, it } from "vitest";
import type { BenchRow } from "../../bench/rows.ts";
import { lengthFigures, valuesOf, withoutAttention } from "../../bench/scale.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";

it("doubles an axis up to its end", () => {
  expect(valuesOf("length", 4096)).toEqual([256, 512, 1024, 2048, 4096]);
  expect(valuesOf("length", 5000)).toEqual([256, 512, 1024, 2048, 4096]);
  expect(valuesOf("length", 32768).at(-1)).toBe(32768);
  expect(valuesOf("batch", 512)).toEqual([1, 2, 4, 8, 16]);
});

it("leaves attention out of a recording, and nothing else", () => {
  const seen: string[] = [];
  const record = { dispatch: (shader: () => string) => void seen.push(shader.name) } as unknown as Recorder;
  const filtered = withoutAttention(record);
  const shader = (name: string) => Object.defineProperty(() => "", "name", { value: name });
  for (const name of ["rmsNorm", "attention", "attentionBackwardQ", "matmul", "attentionBackwardKv"])
    filtered.dispatch(shader(name), {}, {}, {}, 1);
  expect(seen).toEqual(["rmsNorm", "matmul"]);
});

it("draws time a token, and memory, over tokens", () => {
  const row = (part: string, tokens: number, ms: number, bytes?: number) =>
    ({
      what: `scale by length: ${part}`,
      shape: `2 layers, ${tokens} tokens`,
      median_ms: ms,
      ...(bytes ? { forecast_bytes: bytes } : {}),
    }) as BenchRow;
  const rows = [
    row("SFT step", 256, 512, 100e6),
    row("all but attention", 256, 256),
    row("SFT step", 512, 1536, 200e6),
    row("all but attention", 512, 512),
    { what: "scale by length: exponent of SFT step", shape: "length 256 to 512", median_ms: 1 } as BenchRow,
    { what: "scale by batch: SFT step", shape: "2 layers, 2 × 256 tokens", median_ms: 7 } as BenchRow,
  ];
  const { time, memory } = lengthFigures(rows);
  expect(time).toContain(">tokens<");
  expect(time).not.toContain(">step<");
  // each point's numbers go along: tokens, then milliseconds a token or MB
  const drawn = (svg: string) => [...svg.matchAll(/,(\d+),&quot;([\d.]+)&quot;\]/g)].map(([, x, y]) => [+x, +y]);
  expect(drawn(time)).toEqual([
    [256, 2],
    [512, 3],
    [256, 1],
    [512, 1],
  ]);
  expect(drawn(memory)).toEqual([
    [256, 100],
    [512, 200],
  ]);
});
