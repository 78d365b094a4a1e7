import { adamwCases } from "./adamw.cases.ts";
import { adamw8bitCases } from "./adamw-8bit.cases.ts";
import { attentionCases } from "./attention.cases.ts";
import type { KernelCase } from "./check.ts";
import { decodeCases } from "./decode.cases.ts";
import { elementwiseCases } from "./elementwise.cases.ts";
import { embeddingCases } from "./embedding.cases.ts";
import { gradNormCases } from "./grad-norm.cases.ts";
import { grpoLossCases } from "./grpo-loss.cases.ts";
import { headSoftmaxCases } from "./head-softmax.cases.ts";
import { linearGroupCases, loraLinearCases } from "./lora-linear.cases.ts";
import { matmulCases } from "./matmul.cases.ts";
import { matmulFormCases } from "./matmul-form.cases.ts";
import { rmsNormCases } from "./rms-norm.cases.ts";
import { rmsNormLoraCases } from "./rms-norm-lora.cases.ts";
import { rotaryCases } from "./rotary.cases.ts";
import { sampleCases } from "./sample.cases.ts";
import { swigluCases } from "./swiglu.cases.ts";

/** Every kernel's cases, in the order of a training step: what the self-test on a user's adapter runs. */
export const allCases: readonly KernelCase[] = [
  ...embeddingCases,
  ...rmsNormCases,
  ...rmsNormLoraCases,
  ...matmulCases,
  ...matmulFormCases,
  ...loraLinearCases,
  ...linearGroupCases,
  ...rotaryCases,
  ...attentionCases,
  ...swigluCases,
  ...elementwiseCases,
  ...headSoftmaxCases,
  ...grpoLossCases,
  ...gradNormCases,
  ...adamwCases,
  ...adamw8bitCases,
  ...decodeCases,
  ...sampleCases,
];
