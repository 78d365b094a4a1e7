import type { ModelSource } from "../../src/client/types.ts";
import { AdapterSwitch } from "../../src/session/chat.ts";
import { loadText, prepareText, type TextModel, type TextSources } from "../../src/session/generate.ts";
import type { GpuHolder, OpenGpu } from "./gpu.ts";
import type { Library, Report } from "./library.ts";

/** A model that stays on the GPU between messages, with the adapter used last. */
interface KeptText {
  /** its source */
  name: string;
  text: TextModel;
  adapter: AdapterSwitch;
}

interface KeptInput {
  model: ModelSource;
  /** dtype of the model's weights on the GPU */
  storage: Pick<TextSources, "dtype" | "quantization">;
  library: Library;
  holder: GpuHolder;
  /** the lent GPU */
  gpu: OpenGpu["gpu"];
  signal: AbortSignal;
}

/** The model that is on the GPU already, or this one loaded in its place. */
export async function openKept(input: KeptInput, report: Report): Promise<KeptText> {
  const { library, holder, gpu, signal, storage } = input;
  const name = JSON.stringify([input.model, storage]);
  const kept = holder.kept as KeptText | null;
  if (kept?.name === name) return kept;
  holder.kept = null;
  await gpu.clear();
  const model = await library.openModel(input.model, { signal, report });
  const sources = { gpu, model, signal, onProgress: report, ...storage };
  const text = await loadText(await prepareText(sources), sources);
  const made = { name, text, adapter: new AdapterSwitch(text) };
  holder.kept = made;
  return made;
}
