import { basename, dirname, resolve } from "node:path";
import { roughTokens, type TokenCounter } from "../../data/documents/chunks.ts";
import { RecipeError } from "../../errors.ts";
import { Sha256 } from "../../io/sha256.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { Asker, AskUsage } from "../../session/data/ask.ts";
import { DATA_KEY, type EndpointAsker, endpointAsker } from "../../session/data/endpoint.ts";
import { DataFolder } from "../../session/data/folder.ts";
import { localAsker } from "../../session/data/local.ts";
import { saveRows, writeRecipe, writeReport } from "../../session/data/save.ts";
import { chunkDocuments, createPairs, curatePairs, ingestDocument } from "../../session/data/stages.ts";
import { loadText } from "../../session/generate.ts";
import { holding } from "../../session/hold.ts";
import { formatNumber } from "../../text/numbers.ts";
import type { ParsedArgs } from "../args.ts";
import { type DataRequest, type DataStep, dataRequest } from "../flags/data-flags.ts";
import { documentSources, readSources } from "../sources/documents.ts";
import { type ModelRequest, modelRequest, openText } from "../sources/text-model.ts";
import { tokenizerOf } from "../sources/tokenizer.ts";
import { DataProgress } from "../terminal/data-progress.ts";
import { EXIT_INTERRUPTED, interruptible } from "../terminal/interrupt.ts";
import { statusLine } from "../terminal/status-line.ts";
import { showData } from "./data-show.ts";

interface Work extends DataRequest {
  model: ModelRequest;
  data: DataFolder;
  signal: AbortSignal;
}

/** `qwench data STEP`: from documents to training rows. @returns the exit code */
export async function runData(args: ParsedArgs): Promise<number> {
  if (args.positional[0] === "show") return showData(args);
  const request = await dataRequest(args);
  const model = modelRequest(args.flags);
  const output = resolve(request.output);
  for (const note of request.notes) console.error(`note: ${note}`);
  const claim = { name: basename(output), what: `write ${request.output}`, instead: "name another --output" };
  return interruptible((signal) =>
    holding({ folder: nodeFolder(dirname(output)), ...claim }, async () => {
      const data = new DataFolder(nodeFolder(output));
      try {
        return await runSteps({ ...request, model, data, signal });
      } catch (error) {
        if (!signal.aborted) throw error;
        console.error(`Interrupted. Replies so far are in ${request.output}; the same command continues from there`);
        return EXIT_INTERRUPTED;
      }
    }),
  );
}

const has = (step: DataStep, ...steps: DataStep[]) => step === "make" || steps.includes(step);

async function runSteps(work: Work): Promise<number> {
  const { step, data, config, type } = work;
  if (has(step, "ingest")) await ingest(work);
  if (step === "ingest") return 0;
  const asks = has(step, "create") || (has(step, "curate") && (work.rate || work.support) && type !== "summary");
  if (asks || step === "chunk") {
    const { tokens, asker, close } = await openAsker(work, asks);
    if (step === "chunk") {
      const all = await chunkDocuments(data, tokens, config);
      for (const { file, chunks } of all) console.log(`${file.source}: ${chunks.length} chunks`);
      return 0;
    }
    const progress = new DataProgress();
    const context = { ...{ data, config, signal: work.signal }, asker: asker!, onProgress: progress.update };
    try {
      if (has(step, "create")) {
        const { files, usage } = await createPairs({ ...context, tokens, type });
        progress.end();
        const pairs = files.reduce((sum, file) => sum + file.qa_pairs.length, 0);
        console.log(`${formatNumber(pairs)} pairs of ${formatNumber(files.length)} chunks${usageText(usage)}`);
      }
      if (has(step, "curate")) await curate(work, context);
    } finally {
      progress.end();
      close();
    }
  } else if (has(step, "curate")) await curate(work, null);
  await writeReport(data); // also where no pair is left to save
  if (has(step, "save-as")) await save(work);
  console.log(`Report: ${work.output}/report.html`);
  return 0;
}

async function ingest({ inputs, article, data, signal, output }: Work): Promise<void> {
  const sources = documentSources(inputs);
  let count = 0;
  const failed = await readSources(sources, { article, signal, status: statusLine() }, async (document, bytes) => {
    const { name } = await ingestDocument(data, document, bytes);
    const characters = document.pages.reduce((sum, { text }) => sum + text.length, 0);
    console.log(`${document.source}: ${formatNumber(characters)} characters → ${output}/output/${name}.txt`);
    for (const note of document.notes) console.error(`note: ${note}`);
    count++;
  });
  for (const message of failed) console.error(`left out: ${message}`);
  if (count === 0) throw new RecipeError(`Cannot make rows: none of the ${sources.length} documents can be read`);
}

type CurateContext = Omit<Parameters<typeof curatePairs>[0], "support" | "rate">;

async function curate(work: Work, context: CurateContext | null): Promise<void> {
  const { data, config, signal, support, rate } = work;
  // without questions there is no one to ask
  const silent: Asker = { identity: {}, async *ask() {} };
  const asked = context ?? { data, config, signal, asker: silent };
  const { files, usage } = await curatePairs({
    ...asked,
    support: support && context !== null,
    rate: rate && context !== null,
  });
  const [kept, total] = [
    files.reduce((sum, file) => sum + file.qa_pairs.length, 0),
    files.reduce((sum, { metrics }) => sum + metrics.total, 0),
  ];
  console.log(`${formatNumber(kept)} of ${formatNumber(total)} pairs kept${usageText(usage)}`);
}

async function save({ data, format, config, split, output, model }: Work): Promise<void> {
  const name = config.api_base === null ? (model.model ?? null) : config.model;
  const { files } = await saveRows(data, { format, metadata: config.include_metadata, split, model: name });
  await writeRecipe(data, { output, files, model: config.api_base === null ? model.model : null });
  for (const { name, rows } of files) console.log(`${formatNumber(rows)} rows: ${output}/${name}`);
  console.log(`Train on them: qwench sft ${output}/recipe.yaml`);
}

function usageText({ asked, cached, unread }: AskUsage): string {
  const facts = [
    ...(asked > 0 ? [`${formatNumber(asked)} replies`] : []),
    ...(cached > 0 ? [`${formatNumber(cached)} replies were on disk`] : []),
    ...(unread > 0 ? [`${formatNumber(unread)} could not be read and are kept aside`] : []),
  ];
  return facts.length > 0 ? ` (${facts.join(", ")})` : "";
}

interface Opened {
  tokens: TokenCounter;
  asker: Asker | null;
  /** says what an endpoint has cost */
  close(): void;
}

/** Opens the model or the endpoint. @param asks whether questions will be asked; else only the tokenizer is opened */
async function openAsker(work: Work, asks: boolean): Promise<Opened> {
  const { config, model, signal } = work;
  const status = statusLine();
  if (config.api_base !== null) {
    const asker = asks ? openEndpoint(work, config.api_base) : null;
    const close = () => {
      const { cost, retries } = asker?.spent() ?? { cost: 0, retries: 0 };
      if (cost > 0 || retries > 0) console.error(`endpoint: ${retries} requests repeated, ${cost.toFixed(4)} USD`);
    };
    return { tokens: await tokensOf(model, signal), asker, close };
  }
  if (!asks) {
    const { tokenizer, positions } = await tokenizerOf(model, signal);
    limitSize(work, positions);
    return { tokens: tokenizer, asker: null, close: () => {} };
  }
  const { prepared, sources } = await openText(model, signal, status);
  limitSize(work, prepared.config.max_position_embeddings);
  const identity = {
    model: sources.model.path,
    adapter: sources.adapter ? await adapterHash(sources.adapter) : null,
    dtype: model.dtype,
    quantization: model.quantization,
    template: sources.chat_template ?? null,
  };
  const text = await loadText(prepared, sources);
  status(null);
  const { seed } = config;
  const asker = localAsker(text, { identity, seed, slots: work.slots ?? undefined, grammar: work.grammar });
  return { tokens: prepared.tokenizer, asker, close: () => {} };
}

/** Without a given size, prompt and reply fill at most the model's positions. */
function limitSize({ config, sized }: Work, positions: number): void {
  if (!sized) config.max_seq_length = Math.min(config.max_seq_length, positions);
}

/** The hash of an adapter's weights: replies of an adapter that was trained on are not its own any more. */
async function adapterHash(adapter: Folder): Promise<string> {
  const hash = new Sha256();
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    if (!(await adapter.exists(name))) continue;
    const file = await adapter.open(name);
    for (let at = 0; at < file.size; at += 1 << 24)
      hash.update(await file.read(at, Math.min(file.size, at + (1 << 24))));
  }
  return hash.hex();
}

function openEndpoint(work: Work, api_base: string): EndpointAsker {
  const { config, parameters, price_prompt, price_completion, max_cost } = work;
  if (config.model === null) throw new RecipeError("An endpoint needs the name of its model: give --api_model");
  return endpointAsker({
    url: api_base,
    model: config.model,
    key: process.env[DATA_KEY] || null,
    parameters,
    timeout_ms: config.timeout * 1000,
    attempts: config.max_retries + 1,
    backoff_ms: config.retry_delay * 1000,
    concurrency: config.concurrency,
    ...{ price_prompt, price_completion, max_cost },
    fetch,
  });
}

async function tokensOf(model: ModelRequest, signal: AbortSignal): Promise<TokenCounter> {
  if (model.model !== null) return (await tokenizerOf(model, signal)).tokenizer;
  console.error("note: no tokenizer is known, so three characters count as one token; name a model with --model");
  return roughTokens();
}
