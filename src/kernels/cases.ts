import { attentionCases } from "./attention/attention.cases.ts";
import { attentionMatricesCases } from "./attention/attention-matrices.cases.ts";
import { decodeCases } from "./attention/decode.cases.ts";
import { gateCases } from "./attention/gate.cases.ts";
import type { KernelCase } from "./check.ts";
import { deltaConvCases } from "./delta/conv.cases.ts";
import { deltaGatesCases } from "./delta/gates.cases.ts";
import { deltaL2NormCases } from "./delta/l2-norm.cases.ts";
import { deltaRuleCases, deltaStepCases } from "./delta/rule.cases.ts";
import { elementwiseCases } from "./elementwise.cases.ts";
import { embeddingCases } from "./embedding/embedding.cases.ts";
import { headSoftmaxCases } from "./head/head-softmax.cases.ts";
import { tokenColumnsCases } from "./head/token-columns.cases.ts";
import { dftCases } from "./loss/dft.cases.ts";
import { dpoLossCases } from "./loss/dpo-loss.cases.ts";
import { entropyMaskCases } from "./loss/entropy-mask.cases.ts";
import { grpoLossCases } from "./loss/grpo-loss.cases.ts";
import { sequenceTermsCases } from "./loss/sequence-terms.cases.ts";
import { doraCases } from "./matmul/dora.cases.ts";
import { linearGroupCases, loraLinearCases } from "./matmul/lora-linear.cases.ts";
import { matmulCases } from "./matmul/matmul.cases.ts";
import { matmulBf16Cases } from "./matmul/matmul-bf16.cases.ts";
import { matmulFormCases } from "./matmul/matmul-form.cases.ts";
import { matrixFactorsCases } from "./matmul/matrix-factors.cases.ts";
import { packRowsCases } from "./matmul/pack-rows.cases.ts";
import { widenCases } from "./matmul/widen.cases.ts";
import { geluCases } from "./mlp/gelu.cases.ts";
import { swigluCases } from "./mlp/swiglu.cases.ts";
import { gatedRmsNormCases } from "./norm/gated-rms-norm.cases.ts";
import { layerNormCases } from "./norm/layer-norm.cases.ts";
import { rmsNormCases } from "./norm/rms-norm.cases.ts";
import { rmsNormLoraCases } from "./norm/rms-norm-lora.cases.ts";
import { adafactorCases } from "./optimizer/adafactor.cases.ts";
import { adamwCases } from "./optimizer/adamw.cases.ts";
import { adamw8bitCases } from "./optimizer/adamw-8bit.cases.ts";
import { gradNormCases } from "./optimizer/grad-norm.cases.ts";
import { lionCases } from "./optimizer/lion.cases.ts";
import { muonCases } from "./optimizer/muon.cases.ts";
import { sgdCases } from "./optimizer/sgd.cases.ts";
import { rotaryCases } from "./rotary/rotary.cases.ts";
import { maskLogitsCases } from "./sample/mask-logits.cases.ts";
import { sampleCases } from "./sample/sample.cases.ts";
import { blendRowsCases } from "./vision/blend-rows.cases.ts";

/** Every kernel's cases, in the order of a training step: what the self-test on a user's adapter runs. */
export const allCases: readonly KernelCase[] = [
  ...embeddingCases,
  ...rmsNormCases,
  ...rmsNormLoraCases,
  ...matmulCases,
  ...matmulFormCases,
  ...matmulBf16Cases,
  ...packRowsCases,
  ...widenCases,
  ...matrixFactorsCases,
  ...loraLinearCases,
  ...linearGroupCases,
  ...doraCases,
  ...rotaryCases,
  ...attentionCases,
  ...attentionMatricesCases,
  ...gateCases,
  ...deltaConvCases,
  ...deltaL2NormCases,
  ...deltaGatesCases,
  ...deltaRuleCases,
  ...deltaStepCases,
  ...gatedRmsNormCases,
  ...swigluCases,
  ...layerNormCases,
  ...geluCases,
  ...blendRowsCases,
  ...elementwiseCases,
  ...headSoftmaxCases,
  ...tokenColumnsCases,
  ...dftCases,
  ...entropyMaskCases,
  ...sequenceTermsCases,
  ...grpoLossCases,
  ...dpoLossCases,
  ...gradNormCases,
  ...adamwCases,
  ...adamw8bitCases,
  ...adafactorCases,
  ...lionCases,
  ...sgdCases,
  ...muonCases,
  ...decodeCases,
  ...maskLogitsCases,
  ...sampleCases,
];
