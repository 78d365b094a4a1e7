import type { DocumentTrainer } from "../../src/client/types.ts";
import { roughTokens } from "../../src/data/documents/chunks.ts";
import { NetworkError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Asker } from "../../src/session/data/ask.ts";
import { DocumentDesk } from "../../workers/session/documents.ts";

/** Asks about each sentence of a chunk, and rates pairs by their length. */
function fakeAsker(pace: number, fault: string | null): Asker {
  return {
    identity: { model: "fake" },
    async *ask(questions, signal) {
      for (const [index, { prompt, shape }] of questions.entries()) {
        await new Promise((done) => setTimeout(done, pace));
        signal.throwIfAborted();
        if (fault !== null) throw new NetworkError(fault);
        const text = replyTo(prompt, shape.kind);
        yield { index, text, prompt_tokens: 10, completion_tokens: 10 };
      }
    },
  };
}

function replyTo(prompt: string, kind: string): string {
  const text = prompt.slice(prompt.indexOf("Text:\n") + "Text:\n".length);
  if (kind === "text") return text.slice(0, 80);
  if (kind === "marks") {
    const ids = [...prompt.matchAll(/"id":(\d+),"question":"([^"]*)"/g)];
    return JSON.stringify(ids.map(([, id, question]) => ({ id: Number(id), rating: question.length % 2 ? 9 : 4 })));
  }
  const sentences = text.match(/[^.\n]{12,}\./g) ?? [];
  return JSON.stringify(
    sentences.map((sentence) => ({
      question: `What does the text say about “${sentence.trim().split(/\s+/).slice(0, 3).join(" ")}”?`,
      answer: sentence.trim(),
    })),
  );
}

/** Documents without a GPU and without storage. @param fault an endpoint fails with this */
export function fakeDocuments(pace: number, fault: string | null): DocumentTrainer {
  const folder = memoryFolder("documents");
  return new DocumentDesk({
    folder,
    clear: async () => {
      for (const name of await folder.folders()) await folder.removeFolder(name);
    },
    alone: (work) => work(),
    tokens: async () => ({ tokens: roughTokens(), positions: Number.MAX_SAFE_INTEGER }),
    open: async (writer) => ({ asker: fakeAsker(pace, writer.kind === "endpoint" ? fault : null), end: () => {} }),
  });
}
