// Compares GGUF files in llama.cpp and in Qwench: probabilities after each token of a text, and greedy tokens.
//
//   mkdir elsewhere && cd elsewhere && npm install node-llama-cpp     prebuilt llama.cpp; not a dependency of Qwench
//   npx tsx scripts/oracle/llama-cpp.ts elsewhere FILE.gguf...
//
// Activations are f32 here; llama.cpp quantises them beside weights in Q8_0 and Q4_0. Files in F16 agree to 1e-2 of a probability.
import { createRequire } from "node:module";
import { basename, dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { requestGpu } from "../../src/gpu/device.ts";
import { openGgufCheckpoint } from "../../src/model/files/gguf.ts";
import { loadModel } from "../../src/model/files/load.ts";
import { generate } from "../../src/model/generate/generate.ts";
import { openAdapter } from "../../src/platform/index.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";

const [POSITIONS, PROMPT, TOKENS] = [70, 20, 24];
const GREEDY = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };

/** What of node-llama-cpp is used here. */
interface LlamaSequence {
  controlledEvaluate(tokens: unknown[]): Promise<{ next: { probabilities: Map<number, number> } }[]>;
  evaluate(tokens: number[], options: object): AsyncIterable<number>;
  clearHistory(): Promise<void>;
}
interface Llama {
  loadModel(options: object): Promise<{
    createContext(options: object): Promise<{ getSequence(): LlamaSequence }>;
    dispose(): Promise<void>;
  }>;
}

/** Probabilities after each id, and greedy tokens after the first ones, until llama.cpp sees an end. */
async function inLlama(llama: Llama, file: string, ids: readonly number[]) {
  const model = await llama.loadModel({ modelPath: file, useMmap: false });
  const sequence = (await model.createContext({ contextSize: 256, threads: 1 })).getSequence();
  const wanted = { generateNext: { probabilities: true, options: { temperature: 0 } } };
  const made = await sequence.controlledEvaluate(ids.map((id) => [id, wanted]));
  await sequence.clearHistory();
  const greedy: number[] = [];
  for await (const token of sequence.evaluate(ids.slice(0, PROMPT), { temperature: 0 })) {
    greedy.push(token);
    if (greedy.length === TOKENS) break;
  }
  await model.dispose();
  return { rows: made.map(({ next }) => next.probabilities), greedy };
}

function softmax(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const powers = Float64Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

async function main([folder, ...files]: string[]): Promise<void> {
  const entry = createRequire(pathToFileURL(`${resolve(folder)}/`)).resolve("node-llama-cpp");
  const { getLlama } = (await import(pathToFileURL(entry).href)) as { getLlama(options: object): Promise<Llama> };
  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true });
  const { adapter, waiting, spares } = await openAdapter();
  const gpu = await requestGpu(adapter, { waiting, spares });
  for (const file of files.map((name) => resolve(name))) {
    const model = await loadModel(gpu, await openGgufCheckpoint(nodeFolder(dirname(file)), basename(file)));
    const { vocab_size } = model.config;
    const ids = Array.from({ length: POSITIONS }, (_, i) => (7 * i * i + 3) % vocab_size);
    const position_ids = ids.map((_, t) => t);
    const logits = await model.logits({ input_ids: ids, position_ids, cu_seqlens: [0, ids.length] });
    const request = { prompt_ids: ids.slice(0, PROMPT), sequence: 0 };
    const options = { ...GREEDY, max_new_tokens: TOKENS, eos_token_ids: [], seed: 0 };
    const [{ ids: ours }] = await generate(model, [request], options);
    const { rows, greedy } = await inLlama(llama, file, ids);
    let [worst, same] = [0, 0];
    rows.forEach((theirs, t) => {
      const mine = softmax(logits.subarray(t * vocab_size, (t + 1) * vocab_size));
      mine.forEach((p, id) => {
        worst = Math.max(worst, Math.abs(p - (theirs.get(id) ?? 0)));
      });
      const [top] = [...theirs].reduce((a, b) => (b[1] > a[1] ? b : a));
      if (mine.indexOf(mine.reduce((a, b) => Math.max(a, b))) === top) same++;
    });
    const equal = greedy.filter((id, i) => id === ours[i]).length;
    console.log(
      `${basename(file)} (${model.config.model_type}): probabilities differ by at most ${worst.toExponential(1)}; the most probable token is the same at ${same} of ${POSITIONS} positions; ${equal} of ${greedy.length} greedy tokens are equal`,
    );
  }
}

main(process.argv.slice(2)).then(
  () => process.exit(0), // Dawn keeps the process alive
  (error: Error) => {
    console.error(error.message);
    process.exit(1);
  },
);
