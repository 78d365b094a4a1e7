import type { ChatEvent, ChatRequest } from "../../src/client/types.ts";
import { AbortError } from "../../src/errors.ts";
import type { Folder } from "../../src/io/storage.ts";
import {
  conversationIds,
  dropAdapter,
  type LoadedAdapter,
  loadAdapter,
  loadText,
  prepareText,
  respond,
  samplingOf,
  setAdapter,
  type TextModel,
  type TextSources,
} from "../../src/session/generate.ts";
import type { GpuHolder } from "./gpu.ts";
import type { Library } from "./library.ts";
import { reporting } from "./reporting.ts";

/** A model that stays on the GPU between two messages, with the adapter that was last used. */
interface Kept {
  text: TextModel;
  model: string;
  adapter: { name: string; loaded: LoadedAdapter } | null;
}

export interface ChatInput {
  request: ChatRequest;
  /** of the run's adapter; null: none is asked for */
  adapter: { folder: Folder; name: string } | null;
  /** how the model's weights lie on the GPU */
  storage: Pick<TextSources, "dtype" | "quantization">;
  library: Library;
  holder: GpuHolder;
  signal: AbortSignal;
}

/** Milliseconds between two pieces of text. */
const PACE_MS = 60;
const MOST_TOKENS = 512;

/** Answers a conversation. The model, and the adapter beside it, stay loaded for the next message. */
export async function* chat({
  request,
  adapter,
  storage,
  library,
  holder,
  signal,
}: ChatInput): AsyncGenerator<ChatEvent> {
  const lent = await holder.lend("the model answers");
  try {
    const { gpu } = lent;
    const name = JSON.stringify([request.model, storage]);
    let kept = holder.kept as Kept | null;
    if (kept?.model !== name) {
      holder.kept = null;
      await gpu.clear();
      const text = yield* reporting(async (report: (event: ChatEvent) => void) => {
        const onProgress = (what: string, done: number, total: number | null) =>
          report({ type: "progress", what, done, total });
        const model = await library.openModel(request.model, { signal, report: onProgress });
        const sources = { gpu, model, signal, onProgress, ...storage };
        return loadText(await prepareText(sources), sources);
      });
      kept = { text, model: name, adapter: null };
      holder.kept = kept;
    }
    if (adapter && kept.adapter?.name !== adapter.name) {
      setAdapter(kept.text.model, null);
      if (kept.adapter) await dropAdapter(kept.adapter.loaded);
      kept.adapter = null;
      kept.adapter = { name: adapter.name, loaded: await loadAdapter(kept.text.model, adapter.folder) };
    }
    setAdapter(kept.text.model, adapter ? kept.adapter!.loaded : null);
    yield* answer(kept.text, request, signal);
  } finally {
    lent.end();
  }
}

async function* answer(text: TextModel, request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatEvent> {
  const began = performance.now();
  const { temperature, top_p } = request;
  const asked = { ...(temperature === undefined ? {} : { temperature }), ...(top_p === undefined ? {} : { top_p }) };
  const events = respond(text, [{ prompt_ids: conversationIds(text, request.messages) }], {
    ...samplingOf(text.defaults, asked),
    max_new_tokens: request.max_new_tokens ?? text.defaults.max_new_tokens ?? MOST_TOKENS,
    seed: request.seed ?? Math.floor(Math.random() * 2 ** 32),
    pace: PACE_MS,
    signal,
  });
  for await (const event of events) {
    if (signal.aborted) throw new AbortError("The answer was stopped");
    if (event.type === "text") yield { type: "text", text: event.text };
    else {
      const seconds = (performance.now() - began) / 1000;
      yield { type: "end", finish_reason: event.made.finish_reason, tokens: event.made.ids.length, seconds };
    }
  }
}
