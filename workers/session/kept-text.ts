import type { ModelSource } from "../../src/client/types.ts";
import { UnsupportedError } from "../../src/errors.ts";
import { AdapterSwitch } from "../../src/session/chat.ts";
import { loadText, prepareText, type TextModel, type TextSources } from "../../src/session/generate.ts";
import type { Images } from "../../src/session/images.ts";
import { storageOf } from "../../src/session/open.ts";
import type { GpuHolder, OpenGpu } from "./gpu.ts";
import type { Library, Report } from "./library.ts";
import { nameOfModel, type PhaseRecipe } from "./recipes.ts";

/** A model that stays on the GPU between messages, with the adapter used last. */
export interface KeptText {
  /** its source */
  name: string;
  text: TextModel;
  adapter: AdapterSwitch;
  /** null: loaded without its vision tower */
  images: Images | null;
}

/** dtype of the model's weights on the GPU, and of keys and values. */
export type TextStorage = Pick<TextSources, "dtype" | "quantization" | "bf16">;

/** How text is written with a run's model: as it was trained, because it may not fit in a wider dtype. */
export function textStorage(recipe: PhaseRecipe["recipe"]): TextStorage {
  return { ...storageOf(recipe), bf16: recipe.bf16 };
}

interface KeptInput {
  model: ModelSource;
  storage: TextStorage;
  library: Library;
  holder: GpuHolder;
  /** the lent GPU */
  gpu: OpenGpu["gpu"];
  /** load the vision tower too */
  vision?: boolean;
  signal: AbortSignal;
}

/**
 * The model that is on the GPU already, or this one loaded in its place.
 *
 * @throws {UnsupportedError} a model without a vision tower is to see images
 */
export async function openKept(input: KeptInput, report: Report): Promise<KeptText> {
  const { library, holder, gpu, signal, storage, vision = false } = input;
  const name = JSON.stringify([input.model, storage]);
  const kept = holder.kept as KeptText | null;
  if (kept?.name === name && (kept.images || !vision)) return kept;
  const model = await library.openModel(input.model, { signal, report });
  const sources = { gpu, model, signal, onProgress: report, vision, ...storage };
  const prepared = await prepareText(sources);
  // the code for images is loaded when the first one comes
  const images = vision ? await (await import("./images.ts")).openImages(prepared) : null;
  const seeing = [...prepared.checkpoint.weights.keys()].some((name) => name.startsWith("model.visual."));
  if (vision && !(images && seeing)) {
    throw new UnsupportedError(
      `Cannot look at an image: ${nameOfModel(input.model)} has no vision tower. Remove the image, or choose a model that sees, such as Qwen/Qwen3.5-0.8B`,
    );
  }
  holder.kept = null;
  await gpu.clear();
  const text = await loadText(prepared, sources);
  const made = { name, text, adapter: new AdapterSwitch(text), images };
  holder.kept = made;
  return made;
}
