import type { ModelSource, PairsEvent, PairWriter } from "../../src/client/types.ts";
import { roughTokens } from "../../src/data/documents/chunks.ts";
import { DATA_DEFAULTS } from "../../src/data/documents/config.ts";
import { NotFoundError } from "../../src/errors.ts";
import { opfsRoot } from "../../src/platform/browser/opfs-folder.ts";
import type { Asker } from "../../src/session/data/ask.ts";
import { endpointAsker } from "../../src/session/data/endpoint.ts";
import { localAsker } from "../../src/session/data/local.ts";
import { openTokenizer } from "../../src/session/tokenizer.ts";
import type { DeskPlace, WriterTokens } from "./documents.ts";
import type { GpuHolder } from "./gpu.ts";
import { openKept } from "./kept-text.ts";
import type { Library } from "./library.ts";
import { takeLock } from "./locks.ts";
import { nameOfModel } from "./recipes.ts";
import { DOCUMENTS } from "./storage.ts";

/** Requests to an endpoint at the same time, and the limit of one in ms. */
const CONCURRENCY = 8;
const TIMEOUT_MS = 120_000;

/** Documents in OPFS, and models of the page's library on its GPU. One tab at a time changes the documents. */
export function documentPlace({ library, holder }: { library: Library; holder: GpuHolder }): DeskPlace {
  return {
    folder: opfsRoot().folder(DOCUMENTS),
    clear: () => opfsRoot().folder("qwench").removeFolder("documents"),
    async alone(work) {
      const why = "The documents are in use: pairs are being made, here or in another tab";
      const release = await takeLock("qwench-documents", why);
      try {
        return await work();
      } finally {
        await release();
      }
    },
    async tokens(writer) {
      return writer.kind === "endpoint" ? roughWriter() : modelTokens(library, writer.model);
    },
    async open(writer, seed, signal, report) {
      if (writer.kind === "endpoint") return { asker: openEndpoint(writer), end: () => {} };
      const lent = await holder.lend("a model writes pairs");
      try {
        const { model } = writer;
        const input = { model, storage: {}, library, holder, gpu: lent.gpu, signal };
        const progress = (what: string, done: number, total: number | null) =>
          report({ type: "progress", what, done, total } satisfies PairsEvent);
        const { text, adapter } = await openKept(input, progress);
        adapter.turn(false);
        const revision = model.kind === "hub" ? (model.revision ?? "main") : null;
        const identity = { model: nameOfModel(model), revision };
        return { asker: localAsker(text, { identity, seed, grammar: true }), end: lent.end };
      } catch (error) {
        lent.end();
        throw error;
      }
    },
  };
}

const roughWriter = (): WriterTokens => ({ tokens: roughTokens(), positions: Number.MAX_SAFE_INTEGER });

async function modelTokens(library: Library, model: ModelSource): Promise<WriterTokens> {
  const { folder } = await library.lookAtModel(model, { report: () => {} });
  const tokens = await openTokenizer(folder);
  if (!tokens) throw new NotFoundError(`Cannot count tokens with ${folder.path}: it has no tokenizer.json`);
  const config = JSON.parse(await folder.readText("config.json"));
  const positions = Number(config.max_position_embeddings ?? config.text_config?.max_position_embeddings);
  return { tokens, positions: positions > 0 ? positions : Number.MAX_SAFE_INTEGER };
}

function openEndpoint({ url, model, key }: Extract<PairWriter, { kind: "endpoint" }>): Asker {
  const { max_retries, retry_delay } = DATA_DEFAULTS;
  return endpointAsker({
    ...{ url, model, key, parameters: {}, timeout_ms: TIMEOUT_MS, concurrency: CONCURRENCY },
    ...{ attempts: max_retries + 1, backoff_ms: retry_delay * 1000 },
    ...{ price_prompt: 0, price_completion: 0, max_cost: null },
    names: { service: "endpoint", url: "The address", key: "the field Key" },
    fetch: (input, init) => fetch(input, init), // must be called on the worker
  });
}
