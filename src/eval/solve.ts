import { type Message, renderChat } from "../data/chat-template.ts";
import { imageCounts, repeated } from "../data/images/tokens.ts";
import type { RowImage } from "../data/row-error.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { FormatError, ShapeError } from "../errors.ts";
import { generate } from "../model/generate/generate.ts";
import type { Transformer } from "../model/transformer.ts";
import type { SeenImages } from "../model/vision/images.ts";
import { goldAnswer } from "../rewards/answers.ts";
import { isRight } from "../rewards/final-answer.ts";

/** A question and its expected answer, plain or as GSM8K's `#### N`. */
export interface Problem {
  prompt: Message[];
  answer: string;
  /** images of the prompt's parts, in order; absent: none */
  images?: readonly RowImage[];
  /** the answer is a text to be read off an image: right only without an error, except for space around it */
  reading?: boolean;
}

interface SolveOptions {
  max_new_tokens: number;
  /** 0, the default, takes the most probable token */
  temperature?: number;
  /** completions per problem; default 1 */
  samples?: number;
  seed?: number;
  slots?: number;
  /** what the model sees of a problem's images */
  see?: (images: readonly RowImage[]) => Promise<SeenImages | null>;
  /** number of completed completions */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** A model's result on one problem. */
export interface Solved {
  /** text without special tokens */
  completions: string[];
  /** one per completion */
  right: boolean[];
  /** tokens of all its completions */
  tokens: number;
}

/** Generates and grades answers to problems. @returns one result per problem, in order */
export async function solve(
  model: Transformer,
  tokenizer: Tokenizer,
  problems: readonly Problem[],
  options: SolveOptions,
): Promise<Solved[]> {
  const { samples = 1, temperature = 0, seed = 0, slots, see, onProgress, signal } = options;
  const { chat_template, eos_token } = tokenizer;
  if (chat_template === null) throw new FormatError("Cannot ask questions: the tokenizer has no chat template");
  const image_token = model.config.vision?.image_token_id ?? null;
  const prompts = problems.map(({ prompt, images }, i) => {
    const ids = tokenizer.encode(renderChat(chat_template, prompt, { add_generation_prompt: true, eos_token }));
    return repeated(ids, imageCounts({ row: {}, number: i + 1, file: "problems", images }, ids, image_token));
  });
  const seen: (SeenImages | null)[] = [];
  for (const { images = [] } of problems) seen.push(images.length > 0 && see ? await see(images) : null);
  const lengths = new Uint32Array(problems.length * samples);
  let ended = 0;
  const total = problems.length * samples;
  const requests = Array.from({ length: total }, (_, i) => ({
    prompt_ids: prompts[Math.floor(i / samples)],
    images: seen[Math.floor(i / samples)],
    sequence: i,
  }));
  const made = await generate(model, requests, {
    temperature,
    top_k: 0,
    top_p: 1,
    min_p: 0,
    repetition_penalty: 1,
    max_new_tokens: options.max_new_tokens,
    eos_token_ids: tokenizer.stop_token_ids,
    seed,
    slots,
    signal,
    onTokens: (ids, request) => {
      lengths[request] += ids.length;
      const last = ids[ids.length - 1];
      if (lengths[request] < options.max_new_tokens && !tokenizer.stop_token_ids.includes(last)) return;
      onProgress?.(++ended, total);
    },
  });
  return problems.map((problem, p) => {
    const own = made.slice(p * samples, (p + 1) * samples);
    const completions = own.map(({ ids }) => tokenizer.decode(ids, { skip_special_tokens: true }));
    const { answer, reading = false } = problem;
    const gold = goldAnswer({ answer });
    return {
      completions,
      right: completions.map((text) => (reading ? text.trim() === answer.trim() : isRight(text, gold))),
      tokens: own.reduce((sum, { ids }) => sum + ids.length, 0),
    };
  });
}

/** Share of correct completions. With one greedy completion per problem, this is greedy accuracy. */
export function accuracy(solved: readonly Solved[]): number {
  const all = solved.flatMap(({ right }) => right);
  if (all.length === 0) throw new ShapeError("Cannot compute an accuracy: there are no completions");
  return all.filter(Boolean).length / all.length;
}

/**
 * The unbiased estimate of the probability that at least one of k completions is correct, given c correct among n ≥ k: 1 −
 * C(n−c, k) / C(n, k).
 *
 * @see Chen et al. 2021, arXiv:2107.03374
 */
export function passAtK(n: number, c: number, k: number): number {
  if (!(k >= 1 && k <= n && c >= 0 && c <= n)) {
    throw new ShapeError(`Cannot compute pass@${k} from ${n} completions with ${c} correct`);
  }
  let miss = 1;
  for (let i = n - c + 1; i <= n; i++) miss *= 1 - k / i;
  return 1 - miss;
}
