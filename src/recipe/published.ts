import type { Method } from "./field.ts";

/** A published recipe included in Qwench. */
export interface PublishedRecipe {
  name: string;
  /** file name in `recipes` */
  file: string;
  method: Method;
  /** short description of what it teaches */
  about: string;
  /** URL of its source */
  source: string;
  /** requirements beyond its model and data */
  needs: string;
  /** tokens of the longest row that its forecast assumes; in GRPO, of the longest prompt */
  longest: number;
  /** pixels of the image that its forecast assumes in each row; absent: rows have none */
  image?: readonly [width: number, height: number];
  /** memory forecast by session/recipe-forecast.ts, for docs/recipes.md; a slow test checks it */
  forecast: string;
}

const OPEN_RS = "https://github.com/knoveleng/open-rs";
const O5_MINI = "https://github.com/MarioCapodanno/Gwen2.5-3B-100Samples-SFT-GRPO";
const TRL = "https://github.com/huggingface/trl";
const CODEGEN = "https://github.com/B0DH1i/Lorafinetune";

/** Every recipe that `--recipe` can name. */
export const RECIPES: readonly PublishedRecipe[] = [
  {
    name: "o5-mini-sft",
    file: "o5-mini-sft.yaml",
    method: "sft",
    about: "Python with reasoning, from 80 solutions",
    source: O5_MINI,
    needs: "",
    longest: 2000, // the source drops longer rows; max_length is 32768
    forecast: "7.91 GiB",
  },
  {
    name: "o5-mini-grpo",
    file: "o5-mini-grpo.yaml",
    method: "grpo",
    about: "the second stage of o5-mini, scored by a judge",
    source: O5_MINI,
    needs: "the adapter of o5-mini-sft; a judge, such as gemini-2.0-flash, and its key in QWENCH_JUDGE_KEY",
    longest: 1024,
    forecast: "33.5 GiB",
  },
  {
    name: "gsm8k-grpo-0.5b",
    file: "gsm8k-grpo.yaml",
    method: "grpo",
    about: "GSM8K with XML tags",
    source: "https://gist.github.com/willccbb/4676755236bb08cab5f4e54a0475d6fb",
    needs: "",
    longest: 256,
    forecast: "3.05 GiB",
  },
  {
    name: "coder-deep",
    file: "coder-deep.yaml",
    method: "sft",
    about: "programs: few problems, five solutions each",
    source: CODEGEN,
    needs: "",
    longest: 1024,
    forecast: "5.49 GiB",
  },
  {
    name: "coder-diverse",
    file: "coder-diverse.yaml",
    method: "sft",
    about: "programs: many problems",
    source: CODEGEN,
    needs: "",
    longest: 1024,
    forecast: "5.49 GiB",
  },
  {
    name: "gsm8k-grpo-unsloth",
    file: "gsm8k-grpo-unsloth.yaml",
    method: "grpo",
    about: "GSM8K with Unsloth's marks",
    source: "https://github.com/unslothai/notebooks",
    needs: "",
    longest: 512,
    forecast: "12.1 GiB",
  },
  {
    name: "limo-sft-unsloth",
    file: "limo-sft-unsloth.yaml",
    method: "sft",
    about: "LIMO with XML tags",
    source: "https://github.com/unslothai/unsloth",
    needs: "",
    longest: 2048,
    forecast: "13.5 GiB",
  },
  {
    name: "open-rs1",
    file: "open-rs1.yaml",
    method: "grpo",
    about: "mathematics, all weights: hard problems",
    source: OPEN_RS,
    needs: "",
    longest: 512,
    forecast: "40.6 GiB",
  },
  {
    name: "open-rs2",
    file: "open-rs2.yaml",
    method: "grpo",
    about: "mathematics, all weights: easy problems too",
    source: OPEN_RS,
    needs: "",
    longest: 512,
    forecast: "38.4 GiB",
  },
  {
    name: "open-rs3",
    file: "open-rs3.yaml",
    method: "grpo",
    about: "mathematics, all weights: cosine reward",
    source: OPEN_RS,
    needs: "",
    longest: 512,
    forecast: "38.4 GiB",
  },
  {
    name: "qwen3.5-gsm8k-grpo",
    file: "qwen3.5-gsm8k-grpo.yaml",
    method: "grpo",
    about: "GSM8K with XML tags, without thinking",
    source: "https://gist.github.com/willccbb/4676755236bb08cab5f4e54a0475d6fb",
    needs: "",
    longest: 256,
    forecast: "3.29 GiB",
  },
  {
    name: "qwen3.5-chat-sft",
    file: "qwen3.5-chat-sft.yaml",
    method: "sft",
    about: "Capybara's conversations, without thinking",
    source: TRL,
    needs: "",
    longest: 2048,
    forecast: "2.45 GiB",
  },
  {
    name: "ocr-sft-qwen3.5",
    file: "ocr-sft-qwen3.5.yaml",
    method: "sft",
    about: "text in images, by Unsloth's OCR settings",
    source: "https://github.com/unslothai/unsloth",
    needs: "",
    longest: 512,
    image: [640, 448],
    forecast: "2.29 GiB",
  },
  {
    name: "ultrafeedback-dpo",
    file: "ultrafeedback-dpo.yaml",
    method: "dpo",
    about: "UltraFeedback's preferences",
    source: TRL,
    needs: "",
    longest: 1024,
    forecast: "3.06 GiB",
  },
];
