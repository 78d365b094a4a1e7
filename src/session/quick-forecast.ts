import { MemoryError } from "../errors.ts";
import {
  type DpoRecipe,
  type GrpoRecipe,
  generationOf,
  type Method,
  type Recipe,
  type SftRecipe,
} from "../recipe/recipe.ts";
import { isObject } from "../text/json.ts";
import { formatNumber } from "../text/numbers.ts";
import type { MemoryForecast } from "../train/forecast/memory.ts";
import { type Assumptions, forecastOf } from "./recipe-forecast.ts";

type Shape = Assumptions["shape"];

/**
 * The forecast of `forecastOf` in a few milliseconds: two shallow models are recorded, because memory grows evenly with the
 * layers.
 *
 * @throws {MemoryError} a buffer exceeds the limits
 */
export async function quickForecast<M extends Method>(
  recipe: Recipe<M>,
  method: M,
  assumptions: Assumptions,
): Promise<MemoryForecast> {
  const { shape } = assumptions;
  const layers = layersOf(shape);
  const low = periodOf(shape);
  const high = 2 * low;
  if (layers <= high || (recipe as SftRecipe).layers_to_transform) return forecastOf(recipe, method, assumptions);
  const at = async (depth: number) => forecastOf(recipe, method, { ...assumptions, shape: withLayers(shape, depth) });
  const [a, b] = [await at(low), await at(high)];
  const whole = (x = 0, y = 0) => Math.round(x + ((y - x) * (layers - low)) / (high - low));
  const kinds = Object.keys(b.byKind) as (keyof typeof b.byKind)[];
  return {
    peak: whole(a.peak, b.peak),
    byKind: Object.fromEntries(kinds.map((kind) => [kind, whole(a.byKind[kind], b.byKind[kind])])),
    trainable: whole(a.trainable, b.trainable),
    parameters: whole(a.parameters, b.parameters),
    tokens: b.tokens,
  };
}

/** The part of a config.json that describes the language model. */
function textOf(shape: Shape): Shape {
  return isObject(shape.text_config) ? (shape.text_config as Shape) : shape;
}

function layersOf(shape: Shape): number {
  return Number(textOf(shape).num_hidden_layers);
}

/** Layers after which the kinds of layers repeat, and at least two: with one more, the pool reuses buffers in another way. */
function periodOf(shape: Shape): number {
  const { layer_types, full_attention_interval, model_type } = textOf(shape);
  const types = Array.isArray(layer_types) ? layer_types : [];
  const full = types.indexOf("full_attention") + 1;
  const mixed = /^qwen3_5/.test(String(model_type ?? shape.model_type)) ? 4 : 1;
  return Math.max(2, Number(full_attention_interval) || (new Set(types).size > 1 ? full : mixed));
}

function withLayers(shape: Shape, num_hidden_layers: number): Shape {
  const text = textOf(shape);
  const types = Array.isArray(text.layer_types) ? { layer_types: text.layer_types.slice(0, num_hidden_layers) } : {};
  const cut = { ...text, ...types, num_hidden_layers };
  return text === shape ? cut : { ...shape, text_config: cut };
}

/** A change of a recipe with which its run fits. */
interface WayOut {
  /** in words: `max completion length 1,808` */
  text: string;
  /** the fields to set */
  fields: Record<string, unknown>;
  /** bytes of the run with it */
  peak: number;
}

/** Shortest length in tokens that is offered. */
const LEAST = 64;
/** Lengths are multiples of this. */
const ROUND = 16;

/**
 * Changes with which a run that is too large fits, each computed: fewer rows per pass with the same step, recomputed activations, a
 * base in 4 bits, shorter rows or completions; if none suffices, all of them together.
 *
 * @param available bytes that the GPU may use; null: unknown, so only the limits of buffers count
 */
export async function waysOut<M extends Method>(
  recipe: Recipe<M>,
  method: M,
  assumptions: Assumptions,
  available: number | null,
): Promise<WayOut[]> {
  const peakWith = async (fields: Record<string, unknown>): Promise<number | null> => {
    try {
      const changed = { ...recipe, ...fields } as Recipe<M>;
      const { peak } = await quickForecast(changed, method, assumed(changed, method, assumptions));
      return available === null || peak <= available ? peak : null;
    } catch (error) {
      if (error instanceof MemoryError) return null;
      throw error;
    }
  };
  const lengthWith = (other: Record<string, unknown>) => longestThatFits(recipe, method, assumptions, other, peakWith);
  const single: Omit<WayOut, "peak">[] = [...fewerRows(recipe), ...recomputing(recipe), ...quantized(recipe)];
  const found: WayOut[] = [];
  for (const way of single) {
    const peak = await peakWith(way.fields);
    if (peak !== null && !found.some(({ fields }) => Object.keys(fields)[0] === Object.keys(way.fields)[0])) {
      found.push({ ...way, peak });
    }
  }
  const shorter = await lengthWith({});
  if (shorter) found.push(shorter);
  if (found.length > 0) return found;
  const smallest = fewerRows(recipe).at(-1);
  const all = [...(smallest ? [smallest] : []), ...recomputing(recipe), ...quantized(recipe)];
  const fields: Record<string, unknown> = Object.assign({}, ...all.map((way) => way.fields));
  const words = all.map((way) => way.text);
  const peak = await peakWith(fields);
  if (peak !== null) return [{ text: words.join(", "), fields, peak }];
  const last = await lengthWith(fields);
  return last ? [{ ...last, text: [...words, last.text].join(", "), fields: { ...fields, ...last.fields } }] : [];
}

/** Rows are no longer than the recipe's limit. */
function assumed<M extends Method>(recipe: Recipe<M>, method: M, assumptions: Assumptions): Assumptions {
  const limit = method === "grpo" ? (recipe as GrpoRecipe).max_prompt_length : (recipe as SftRecipe).max_length;
  return { ...assumptions, longest: Math.min(assumptions.longest, limit ?? Number.POSITIVE_INFINITY) };
}

/** Fewer rows per pass and more passes per step, so that the step stays the same; the largest first. */
function fewerRows(recipe: Recipe<Method>): Omit<WayOut, "peak">[] {
  const { per_device_train_batch_size: size, gradient_accumulation_steps: passes } = recipe as SftRecipe;
  const divisors = Array.from({ length: size - 1 }, (_, i) => size - 1 - i).filter((rows) => size % rows === 0);
  return divisors.flatMap((rows) => {
    const fields: Record<string, unknown> = {
      per_device_train_batch_size: rows,
      gradient_accumulation_steps: (passes * size) / rows,
    };
    if ("num_generations" in recipe) {
      const grpo = recipe as GrpoRecipe;
      if (grpo.steps_per_generation !== null && grpo.steps_per_generation !== undefined) {
        fields.steps_per_generation = (generationOf(grpo).steps_per_generation * size) / rows;
      }
    }
    const text = `${rows} ${rows === 1 ? "row" : "rows"} a pass, ${formatNumber((passes * size) / rows)} passes a step`;
    return [{ text, fields }];
  });
}

function recomputing(recipe: Recipe<Method>): Omit<WayOut, "peak">[] {
  if ((recipe as SftRecipe).gradient_checkpointing) return [];
  return [{ text: "recomputed activations", fields: { gradient_checkpointing: true } }];
}

function quantized(recipe: Recipe<Method>): Omit<WayOut, "peak">[] {
  const { load_in_4bit, load_in_8bit, use_peft } = recipe as SftRecipe;
  return load_in_4bit || load_in_8bit || !use_peft ? [] : [{ text: "4-bit base", fields: { load_in_4bit: true } }];
}

/** The longest rows or completions that fit, found by halving. */
async function longestThatFits<M extends Method>(
  recipe: Recipe<M>,
  method: M,
  { longest }: Assumptions,
  other: Record<string, unknown>,
  peakWith: (fields: Record<string, unknown>) => Promise<number | null>,
): Promise<WayOut | null> {
  const grpo = method === "grpo";
  const name = grpo ? "max_completion_length" : "max_length";
  const limit = grpo
    ? (recipe as GrpoRecipe).max_completion_length
    : ((recipe as SftRecipe | DpoRecipe).max_length ?? longest);
  const now = grpo ? limit : Math.min(limit, longest);
  const trial = (length: number) => peakWith({ ...other, [name]: length });
  let [low, high] = [LEAST, Math.floor((now - 1) / ROUND) * ROUND];
  let best = low <= high ? await trial(low) : null;
  if (best === null) return null;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2 / ROUND) * ROUND;
    const peak = await trial(middle);
    if (peak === null) high = middle - ROUND;
    else [low, best] = [middle, peak];
  }
  return {
    text: `${grpo ? "max completion length" : "max length"} ${formatNumber(low)}`,
    fields: { [name]: low },
    peak: best,
  };
}
