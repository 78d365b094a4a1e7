import { parseArgs } from "node:util";
import { barLine } from "../src/cli/terminal/progress.ts";
import { nodeFolder } from "../src/platform/node/fs.ts";
import { formatBytes, formatFileSize } from "../src/text/bytes.ts";
import { formatNumber } from "../src/text/numbers.ts";
import { formatSeconds } from "../src/text/times.ts";
import { type CheckpointSpec, copyTokenizer, SPECS, writeRandomCheckpoint } from "./random-checkpoint.ts";

const USAGE = `Usage: npm run make:checkpoint -- NAME DIR [--seed N] [--layers N] [--vocab N] [--force]
Writes a checkpoint of a Qwen model's shapes, names and bf16 dtype with random weights, and the real tokenizer.
NAME is one of ${Object.keys(SPECS).join(", ")}.`;

const TOKENIZER_IDS = 151_665;

function fail(message: string): never {
  console.error(`${message}\n${USAGE}`);
  process.exit(2);
}

function count(flag: string, value: string | undefined, least: number): number | undefined {
  if (value === undefined) return undefined;
  const n = Number(value);
  if (!Number.isSafeInteger(n) || n < least) fail(`--${flag} must be a whole number ≥ ${least}, not ${value}`);
  return n;
}

function parse() {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      options: { seed: text, layers: text, vocab: text, force: { type: "boolean" }, help: { type: "boolean" } },
      allowPositionals: true,
    });
  } catch (error) {
    return fail((error as Error).message);
  }
}

const { values, positionals } = parse();
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const [name, path, ...more] = positionals;
if (!name || !path || more.length > 0) fail("NAME and DIR are required");
const known = Object.hasOwn(SPECS, name.toLowerCase()) ? SPECS[name.toLowerCase()] : undefined;
if (!known) fail(`There is no spec named ${name}`);
const seed = count("seed", values.seed, 0) ?? 0;
const spec: CheckpointSpec = {
  ...known,
  num_hidden_layers: count("layers", values.layers, 1) ?? known.num_hidden_layers,
  vocab_size: count("vocab", values.vocab, 1) ?? known.vocab_size,
};
if (spec.vocab_size < TOKENIZER_IDS) {
  console.warn(
    `Note: --vocab ${spec.vocab_size} is below the tokenizer's ${TOKENIZER_IDS} ids; real text will not fit.`,
  );
}

const folder = nodeFolder(path);
const there = (await folder.list()).find((file) => file === "config.json" || file.endsWith(".safetensors"));
if (there && !values.force) {
  console.error(`Cannot write a checkpoint to ${folder.path}: it already has ${there}; --force overwrites it`);
  process.exit(1);
}
const start = performance.now();
let shown = start;
try {
  await copyTokenizer(folder);
  const bytes = await writeRandomCheckpoint(folder, spec, seed, {
    onProgress(done, total) {
      if (!process.stderr.isTTY || performance.now() - shown < 200) return;
      shown = performance.now();
      const facts = [`${formatFileSize(done)} of ${formatFileSize(total)}`];
      process.stderr.write(`\r${barLine(facts, done / total, (process.stderr.columns || 80) - 1)}`);
    },
  });
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  const seconds = formatSeconds((performance.now() - start) / 1000);
  const peak = formatBytes(process.resourceUsage().maxRSS * 1024);
  console.log(
    `${name}: ${formatNumber(bytes / 2)} parameters, ${formatNumber(bytes)} bytes of weights in ${folder.path} (${seconds}, peak ${peak})`,
  );
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
