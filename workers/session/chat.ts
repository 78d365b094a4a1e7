import type { ChatEvent, ChatRequest } from "../../src/client/types.ts";
import { AbortError } from "../../src/errors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { answerTo, type ChatImage, fittedPrompt } from "../../src/session/chat.ts";
import { settingsOf } from "../../src/session/generate.ts";
import type { GpuHolder } from "./gpu.ts";
import { type KeptText, openKept, type TextStorage } from "./kept-text.ts";
import type { Library } from "./library.ts";
import { reporting } from "./reporting.ts";

interface ChatInput {
  request: ChatRequest;
  /** name of the run's adapter; null: no adapter */
  adapter: { folder: Folder; name: string } | null;
  /** how the model is kept on the GPU */
  storage: TextStorage;
  library: Library;
  holder: GpuHolder;
  signal: AbortSignal;
}

/** Milliseconds between two text events. */
const PACE_MS = 60;

/** Answers a conversation. The model and its adapter stay loaded for the next message. */
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
    const vision = request.messages.some(({ images = [] }) => images.length > 0);
    const kept = yield* reporting((report: (event: ChatEvent) => void) =>
      openKept({ model: request.model, storage, library, holder, gpu, vision, signal }, (what, done, total) =>
        report({ type: "progress", what, done, total }),
      ),
    );
    if (adapter) await kept.adapter.put(adapter.folder, adapter.name);
    else kept.adapter.turn(false);
    yield* answer(kept, request, signal);
  } finally {
    lent.end();
  }
}

async function* answer(
  { text, images }: KeptText,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent> {
  const settings = settingsOf(text.defaults, request, Math.floor(Math.random() * 2 ** 32));
  const messages: { role: string; content: string; images: ChatImage[] }[] = [];
  for (const { role, content, images: blobs = [] } of request.messages) {
    const own = images && blobs.length > 0 ? await (await import("./images.ts")).messageImages(images, blobs) : [];
    messages.push({ role, content, images: own });
  }
  const { ids, gone } = fittedPrompt(text, messages, settings.max_new_tokens);
  const left = messages.filter(({ role }) => role !== "system").slice(gone);
  const shown = left.flatMap((message) => message.images.map(({ image }) => image));
  const seen = images && (await images.seen(text.model, { images: shown }));
  for await (const event of answerTo(text, ids, { ...settings, images: seen, pace: PACE_MS, signal })) {
    if (signal.aborted) throw new AbortError("The answer was stopped");
    yield event;
  }
}
