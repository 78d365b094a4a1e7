import { encodePrompt } from "../data/prompts.ts";
import type { NumberedRow } from "../data/rows.ts";
import { DataError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Checkpoint } from "../io/checkpoint.ts";
import type { Folder } from "../io/storage.ts";
import { loadAdapter, setAdapter } from "../model/adapters/loaded.ts";
import { type LoadDType, loadModel } from "../model/files/load.ts";
import { openModel } from "../model/files/open.ts";
import { mergedDtype } from "../model/files/write-merged.ts";
import { generate } from "../model/generate/generate.ts";
import type { Transformer } from "../model/transformer.ts";
import { type ExportRequest, type ExportSource, ggufFileName, openGgufCheckpoint } from "./export.ts";
import { openTokenizer } from "./tokenizer.ts";

/** How an export differs from its source. Differences are relative to the largest logit. */
export interface ExportCheck {
  prompts: number;
  /** tokens compared, including the prompts' */
  tokens: number;
  /** largest difference of a logit */
  worst: number;
  /** the same in absolute terms */
  worst_absolute: number;
  /** the largest `worst` that passes in this format */
  tolerance: number;
  /** number of greedy tokens of the adapter, and how many of them the export also predicts */
  greedy: { tokens: number; agreed: number };
  /** the adapter's effect on the base, and whether the export keeps it; null without an adapter or an effect */
  effect: {
    /** largest change that the adapter makes to a logit, relative as in `worst` */
    worst: number;
    /** share of the effect that the export keeps, by least squares over all logits: 1 like the adapter, 0 like the base */
    kept: number;
    /** whether rounding is small enough, relative to the effect, for `kept` to be meaningful */
    clear: boolean;
  } | null;
}

/** Options of an export check. */
export interface CheckOptions {
  /** rows with a prompt; default: a few fixed prompts */
  rows?: readonly NumberedRow[] | null;
  /** greedy tokens per prompt; default 16 */
  tokens?: number;
  signal?: AbortSignal;
  onProgress?: (what: string, done: number, total: number) => void;
}

/** Above this size in bytes, a GGUF's dequantised weights are loaded in bf16. */
const MOST_F32_BYTES = 2.5e9;
/** Greedy tokens per prompt. */
const TOKENS = 16;
const TEXTS = [
  "What is 12 + 30?",
  "Write a function that returns the n-th Fibonacci number.",
  "The capital of France is Paris, and the capital of Japan is",
  "Tom has 3 boxes with 8 pencils in each, and gives 5 pencils away. How many has he left?",
];

/**
 * Largest relative difference between the export's logits and the adapter's. Formats round weights to nearest: to one part in
 * 2¹¹ in f16, in 2⁸ in bf16, in 254 of a block's maximum in Q8_0, in 16 of it in Q4_0, and to 16 uneven steps in NF4. Layers
 * amplify the rounding. Measured on the embedded model and on 24 random layers, which amplify most: bf16 0.2 and 1.2 %, Q8_0
 * 0.8 and 3.9 %, NF4 13 and 64 %. Other errors show in the kept share of the adapter's effect, which was 1 in all of these.
 */
const TOLERANCES = { F32: 1e-4, F16: 5e-3, BF16: 4e-2, q8_0: 0.1, four: 0.8 } as const;

/** The smallest share of the adapter's effect that an export must keep. */
const LEAST_KEPT = 0.5;

/** The tolerance of an export's format. */
function toleranceOf({ checkpoint }: ExportSource, request: ExportRequest): number {
  const { format, quantization = "q8_0", dtype = null } = request;
  if (format === "lora") return TOLERANCES.F32;
  if (format === "merged_4bit") return TOLERANCES.four;
  if (format === "merged_16bit") return TOLERANCES[mergedDtype(checkpoint, dtype)];
  if (quantization === "q4_0") return TOLERANCES.four;
  return quantization === "q8_0" ? TOLERANCES.q8_0 : TOLERANCES[quantization === "f16" ? "F16" : "BF16"];
}

/**
 * Loads a written export and compares it with base and adapter on the same prompts: the logits of every token, and the
 * predictions at the adapter's greedy tokens. Frees everything on the GPU.
 *
 * @param folder the export
 * @throws if the written files are invalid
 */
export async function checkExport(
  gpu: Gpu,
  source: ExportSource,
  folder: Folder,
  request: ExportRequest,
  options: CheckOptions = {},
): Promise<ExportCheck> {
  const { signal, onProgress, tokens: count = TOKENS } = options;
  const { checkpoint, adapter } = source;
  const load = async (what: string, from: Checkpoint, put: Folder | null, dtype: LoadDType = "auto") => {
    await gpu.clear();
    const report = (done: number, all: number) => onProgress?.(what, done, all);
    const model = await loadModel(gpu, from, { dtype, signal, onProgress: report });
    const loaded = put && (await loadAdapter(model, put, checkpoint));
    if (loaded) setAdapter(model, loaded);
    return { model, loaded };
  };
  const { model, loaded } = await load("the base", checkpoint, adapter);
  const prompts = await promptsOf(source, model, options.rows ?? null, count);
  const made = await generate(
    model,
    prompts.map((prompt_ids, sequence) => ({ prompt_ids, sequence })),
    {
      max_new_tokens: count,
      eos_token_ids: [],
      seed: 0,
      temperature: 0,
      top_k: 0,
      top_p: 1,
      min_p: 0,
      repetition_penalty: 1,
      signal,
    },
  );
  const sequences = prompts.map((prompt, i) => [...prompt, ...made[i].ids]);
  const logits = async (of: Transformer) => {
    const all: Float32Array[] = [];
    for (const ids of sequences) all.push(await logitsOf(of, ids));
    return all;
  };
  const want = await logits(model);
  const scale = want.reduce((most, values) => values.reduce((m, v) => Math.max(m, Math.abs(v)), most), 0);
  if (loaded) setAdapter(model, null);
  const without = loaded && (await logits(model));

  const written = await openWritten(source, folder, request);
  // A GGUF's weights dequantise to f32. A large model's are rounded again, to bf16, to halve their memory.
  const dtype = request.format === "gguf" && written.totalBytes > MOST_F32_BYTES ? "bfloat16" : "auto";
  const { model: other } = await load("the export", written, request.format === "lora" ? folder : null, dtype);
  const vocab = model.config.vocab_size;
  const effect = new Effect();
  let worst = 0;
  let agreed = 0;
  for (const [i, ids] of sequences.entries()) {
    signal?.throwIfAborted();
    const got = await logitsOf(other, ids);
    worst = worse(worst, got, want[i]);
    if (without) effect.add(without[i], want[i], got);
    for (let at = prompts[i].length; at < ids.length; at++) {
      if (argmax(got.subarray((at - 1) * vocab, at * vocab)) === ids[at]) agreed++;
    }
  }
  await gpu.clear();
  return {
    prompts: prompts.length,
    tokens: sequences.reduce((sum, { length }) => sum + length, 0),
    worst: worst / scale,
    worst_absolute: worst,
    tolerance: toleranceOf(source, request),
    greedy: { tokens: made.reduce((sum, { ids }) => sum + ids.length, 0), agreed },
    effect: effect.result(scale),
  };
}

/** Whether an export is close enough to the adapter and keeps the adapter's effect. NaN fails. */
export function exportPassed({ worst, tolerance, effect }: ExportCheck): boolean {
  return worst <= tolerance && (effect === null || !effect.clear || effect.kept >= LEAST_KEPT);
}

/** Sums over logits of base b, adapter w and export g. */
class Effect {
  private most = 0;
  private ww = 0;
  private gw = 0;
  private gg = 0;

  add(base: Float32Array, want: Float32Array, got: Float32Array): void {
    this.most = worse(this.most, base, want);
    for (let i = 0; i < want.length; i++) {
      const [w, g] = [want[i] - base[i], got[i] - base[i]];
      this.ww += w * w;
      this.gw += g * w;
      this.gg += g * g;
    }
  }

  result(scale: number): ExportCheck["effect"] {
    const { most, ww, gw, gg } = this;
    if (!(ww > 0)) return null;
    // `clear`: the part of the export's change that is not the adapter's, which is rounding, is smaller than the adapter's
    return { worst: most / scale, kept: gw / ww, clear: gg - (gw * gw) / ww <= ww };
  }
}

async function openWritten({ checkpoint }: ExportSource, folder: Folder, request: ExportRequest): Promise<Checkpoint> {
  if (request.format === "lora") return checkpoint;
  if (request.format !== "gguf") return (await openModel(folder)).checkpoint;
  return openGgufCheckpoint(folder, ggufFileName(request.name, request.quantization ?? "q8_0"));
}

/** Tokens of the prompts. A model without a tokenizer gets arbitrary tokens, whose logits compare just as well. */
async function promptsOf(
  { checkpoint, adapter }: ExportSource,
  { config }: Transformer,
  rows: readonly NumberedRow[] | null,
  count: number,
): Promise<number[][]> {
  const { vocab_size, max_position_embeddings } = config;
  const room = max_position_embeddings - count;
  if (room < 1) throw new DataError(`Cannot check ${count} tokens: the model has ${max_position_embeddings} positions`);
  const tokenizer = await openTokenizer(checkpoint.folder, adapter);
  if (!tokenizer) {
    if (rows) throw new DataError(`Cannot check by prompts: ${checkpoint.folder.path} has no tokenizer.json`);
    return TEXTS.map((text, i) =>
      Array.from({ length: Math.min(room, text.length) }, (_, t) => (text.charCodeAt(t) * 31 + 7 * t + i) % vocab_size),
    );
  }
  const chat = tokenizer.chat_template !== null;
  const fixed = TEXTS.map((text, i): NumberedRow => {
    const prompt = chat && i % 2 === 0 ? [{ role: "user", content: text }] : text;
    return { row: { prompt }, number: i + 1, file: "the fixed prompts" };
  });
  return (rows ?? fixed).map((row) => encodePrompt(row, { tokenizer, vocab_size }).prompt_ids.slice(0, room));
}

function logitsOf(model: Transformer, ids: readonly number[]): Promise<Float32Array> {
  return model.logits({ input_ids: ids, position_ids: ids.map((_, i) => i), cu_seqlens: [0, ids.length] });
}

/** The larger of `worst` and any difference; NaN as soon as one is NaN. */
function worse(worst: number, got: Float32Array, want: Float32Array): number {
  if (got.length !== want.length) return Number.NaN;
  let most = worst;
  for (let i = 0; i < want.length; i++) {
    if (Number.isNaN(most)) return most;
    const difference = Math.abs(got[i] - want[i]);
    if (!(difference <= most)) most = difference;
  }
  return most;
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
