import type { KernelCase } from "../check.ts";
import { type MuonSettings, muon, muonReference } from "./muon.ts";

const OPTIONS = { learning_rate: 1e-2, weight_decay: 0.1 };
const SETTINGS: MuonSettings = {
  momentum: 0.95,
  nesterov: true,
  ns_steps: 5,
  ns_coefficients: [3.4445, -4.775, 2.0315],
  eps: 1e-7,
  adjust_lr_fn: "match_rms_adamw",
};

const CASES: [shape: [number, number], settings: Partial<MuonSettings>][] = [
  [[1, 1], {}],
  [[1, 7], {}],
  [[63, 65], {}],
  [[65, 63], { adjust_lr_fn: "original" }],
  [[64, 160], { nesterov: false }],
  [[160, 64], { adjust_lr_fn: "original", ns_steps: 3, ns_coefficients: [2, -1.5, 0.5] }],
  [[96, 96], { momentum: 0, ns_steps: 0 }],
];

/** Shapes and settings that Muon is held to: three updates in a row. */
export const muonCases: KernelCase[] = CASES.map(([shape, changed]) => ({
  kernel: "muon",
  name: `[${shape}] ${JSON.stringify(changed)}`,
  tolerance: 3e-5, // five iterations multiply the rounding of small singular values by 3.4445 each
  run(check) {
    const settings = { ...SETTINGS, ...changed };
    const param = check.input(shape, "param");
    const m = check.given(new Float32Array(shape[0] * shape[1]), shape, "momentum_buffer");
    const norm = check.given(Float32Array.of(3, 0.25), [2], "norm");
    const want = { param: param.values.slice(), momentum_buffer: m.values.slice() };
    for (let step = 1; step <= 3; step++) {
      const grad = check.input(shape, `grad ${step}`);
      const tensors = { param: param.tensor, grad: grad.tensor, momentum_buffer: m.tensor };
      muon(check.record, tensors, norm.tensor, OPTIONS, settings);
      muonReference({ ...want, grad: grad.values }, shape, 0.25, OPTIONS, settings);
    }
    check.compare("param", param.tensor, want.param);
    check.compare("momentum_buffer", m.tensor, want.momentum_buffer);
  },
}));
