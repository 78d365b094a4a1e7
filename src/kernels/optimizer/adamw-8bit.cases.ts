import type { Tensor } from "../../gpu/tensor.ts";
import { BLOCK, dequantizeBlocks, dynamicMap, nearestCode } from "../../io/dynamic-map.ts";
import type { CaseRun, KernelCase } from "../check.ts";
import type { AdamWOptions } from "./adamw.ts";
import { adamw8bit, adamw8bitReference, dequantize8bit, type Moments8bit } from "./adamw-8bit.ts";

const SCALE = 0.25;
const OPTIONS = { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

/** Cases of 8-bit AdamW: the first update, and a late update from a random state. */
export const adamw8bitCases: KernelCase[] = [1, 3, 65].flatMap((blocks) =>
  [1, 1000].map(
    (step): KernelCase => ({
      kernel: "adamw8bit",
      name: `[${blocks * BLOCK}] step ${step}`,
      tolerance: 5e-6,
      run(check) {
        const n = blocks * BLOCK;
        const options: AdamWOptions = { ...OPTIONS, step };
        const state = step === 1 ? empty(n) : random(check, n);
        const param = check.input([n], "param");
        const grad = check.given(decided(check, n, state, options), [n], "grad");
        const codes1 = packed(check, state.codes1, "exp_avg_q");
        const codes2 = packed(check, state.codes2, "exp_avg_sq_q");
        const absmax1 = check.given(Float32Array.from(state.absmax1), [blocks], "absmax1").tensor;
        const absmax2 = check.given(Float32Array.from(state.absmax2), [blocks], "absmax2").tensor;
        const norm = check.given(Float32Array.of(1, SCALE), [2], "norm").tensor;
        const before = dequantize8bit(check.record, codes1, absmax1, true);
        adamw8bit(
          check.record,
          { param: param.tensor, grad: grad.tensor, exp_avg_q: codes1, exp_avg_sq_q: codes2, absmax1, absmax2 },
          norm,
          options,
        );
        const m = dequantize8bit(check.record, codes1, absmax1, true);
        const v = dequantize8bit(check.record, codes2, absmax2, false);
        check.compare("exp_avg before", before, dequantizeBlocks(state.codes1, state.absmax1, true));
        const want = adamw8bitReference(param.values, grad.values, state, SCALE, options);
        check.compare("param", param.tensor, param.values);
        check.compare("absmax1", absmax1, want.absmax1);
        check.compare("absmax2", absmax2, want.absmax2);
        check.compare("exp_avg", m, dequantizeBlocks(want.codes1, want.absmax1, true));
        check.compare("exp_avg_sq", v, dequantizeBlocks(want.codes2, want.absmax2, false));
      },
    }),
  ),
);

function empty(n: number): Moments8bit {
  const absmax = new Float32Array(n / BLOCK);
  return { codes1: new Uint8Array(n).fill(127), absmax1: absmax, codes2: new Uint8Array(n), absmax2: absmax };
}

/** Every code of both maps, and magnitudes that are f32. */
function random(check: CaseRun, n: number): Moments8bit {
  const blocks = n / BLOCK;
  const magnitude = (most: number) => Float32Array.from({ length: blocks }, () => most * (check.random() + 1.1));
  return {
    codes1: Uint8Array.from({ length: n }, (_, i) => i * 7),
    absmax1: magnitude(0.1),
    codes2: Uint8Array.from({ length: n }, (_, i) => i * 11),
    absmax2: magnitude(0.01),
  };
}

/**
 * Gradients of many magnitudes. No moment is so close to the middle between two map values that f32 rounding decides
 * its code: there is one right answer on every adapter.
 */
function decided(check: CaseRun, n: number, state: Moments8bit, options: AdamWOptions): Float32Array {
  const grad = Float32Array.from({ length: n }, () => check.random() * 10 ** (2 * check.random() - 2));
  const maps = [dynamicMap(true), dynamicMap(false)];
  for (let pass = 0; pass < 50; pass++) {
    const { m, v, absmax1, absmax2 } = adamw8bitReference(
      new Float64Array(n),
      Float64Array.from(grad),
      state,
      SCALE,
      options,
    );
    let close = 0;
    for (let i = 0; i < n; i++) {
      const block = Math.floor(i / BLOCK);
      if (!nearMiddle(maps[0], m[i] / absmax1[block]) && !nearMiddle(maps[1], v[i] / absmax2[block])) continue;
      grad[i] = check.random();
      close++;
    }
    if (close === 0) return grad;
  }
  throw new Error("found no gradients away from the middles between map values");
}

/** Whether `value` is within f32 rounding of the middle between two neighbours of `map`. */
function nearMiddle(map: Float64Array, value: number): boolean {
  const code = nearestCode(map, value);
  return [code - 1, code].some((low) => {
    const middle = (map[low] + map[low + 1]) / 2; // NaN beyond either end
    return Math.abs(value - middle) < 2e-6 * Math.abs(middle);
  });
}

function packed(check: CaseRun, codes: Uint8Array, label: string): Tensor {
  const words = new Uint32Array(codes.slice().buffer);
  return { ...check.integers([...words], label), shape: [codes.length], dtype: "u8" };
}
