import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parse } from "yaml";
import { FormatError, NotFoundError } from "../../errors.ts";
import type { EvalResults } from "../../eval/results.ts";
import { CONFIG_FILE, INDEX_FILE, openCheckpoint, parseJsonObject, readJson } from "../../io/checkpoint.ts";
import { openGguf } from "../../io/gguf/read.ts";
import { type PushFile, pushFiles } from "../../io/hub/push.ts";
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, type AdapterConfig, readAdapter } from "../../io/peft.ts";
import type { Folder } from "../../io/storage.ts";
import { TOKENIZER_FILES } from "../../model/files/write-merged.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { type CardFacts, modelCard } from "../../report/model-card.ts";
import type { LogRecord } from "../../report/text.ts";
import { metricsFile, readMetrics } from "../../session/run-log.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { textOf } from "../flags/text-flags.ts";
import { MARK } from "../runs/export-folder.ts";
import { hubToken } from "../sources/hub.ts";
import { HUB_ID } from "../sources/sources.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { statusLine } from "../terminal/status-line.ts";
import { packageVersion } from "../version.ts";

export const PUSH_FLAGS: CliFlag[] = [
  { name: "adapter", type: "string", value: "DIR", help: "A PEFT folder, such as a run's output_dir." },
  {
    name: "model",
    type: "string",
    value: "DIR",
    help: "A model folder or a folder with a GGUF file, such as an export.",
  },
  {
    name: "repo",
    type: "string",
    value: "USER/NAME",
    help: "The repository on the hub. Qwench creates it if it does not exist.",
  },
  {
    name: "private",
    type: "boolean",
    help: "Make the repository private. Qwench does not push to an existing public one.",
  },
  {
    name: "base_model",
    type: "string",
    value: "ID",
    help: "Hub id of the base. Needed if the adapter names its base by a local path.",
  },
  {
    name: "run",
    type: "string",
    value: "DIR",
    help: "The run whose metrics.jsonl the card summarises (default: the pushed folder).",
  },
  {
    name: "recipe",
    type: "string",
    value: "FILE",
    help: "The recipe's YAML. The card shows it and names its data set.",
  },
  {
    name: "eval",
    type: "list",
    value: "FILE",
    help: "A result of qwench eval, for the card's table. You can give it several times.",
  },
  {
    name: "dry_run",
    type: "boolean",
    help: "Print the card and the names of the files. Nothing is sent, and no token is needed.",
  },
];

const README = "README.md";
const MODEL_FILES = new Set([CONFIG_FILE, "generation_config.json", INDEX_FILE, ...TOKENIZER_FILES]);

interface Asked {
  kind: "adapter" | "model";
  dir: string;
  repo: string;
  private: boolean;
  base: string | null;
  run: string | null;
  recipe: string | null;
  evals: string[];
  dry: boolean;
}

/** `qwench push`: an adapter or a model to the Hugging Face hub, with a model card. @returns the exit code */
export async function runPush(args: ParsedArgs): Promise<number> {
  const asked = readFlags(args);
  return interruptible((signal) => push(asked, signal));
}

function readFlags({ positional, flags }: ParsedArgs): Asked {
  if (positional.length > 0) throw new UsageError(`qwench push takes flags only, got ${positional.join(" ")}`);
  const [adapter, model, repo, base] = ["adapter", "model", "repo", "base_model"].map((name) => textOf(flags, name));
  if ((adapter === null) === (model === null))
    throw new UsageError("Name what to push with either --adapter or --model");
  if (repo === null) throw new UsageError("--repo is needed: user/name");
  const dir = (adapter ?? model)!;
  if (!existsSync(dir) || !statSync(dir).isDirectory()) {
    throw new NotFoundError(`Cannot push ${dir}: there is no such folder`);
  }
  if (base !== null && !HUB_ID.test(base))
    throw new UsageError(`--base_model must be a hub id (owner/name), got ${base}`);
  return {
    kind: adapter === null ? "model" : "adapter",
    dir,
    repo,
    private: flags.private === true,
    base,
    run: textOf(flags, "run"),
    recipe: textOf(flags, "recipe"),
    evals: Array.isArray(flags.eval) ? flags.eval : [],
    dry: flags.dry_run === true,
  };
}

async function push(asked: Asked, signal: AbortSignal): Promise<number> {
  const folder = nodeFolder(asked.dir);
  if (await folder.exists(MARK)) {
    throw new UsageError(`Cannot push ${asked.dir}: it is from an export that did not finish or failed its check`);
  }
  const { files, facts } =
    asked.kind === "adapter" ? await adapterFiles(folder, asked) : await modelFiles(folder, asked);
  const names = files.map(({ path }) => path);
  const trained = await trainingFacts(folder, asked);
  const evaluations = await Promise.all(asked.evals.map(readResults));
  const versions = { qwench: packageVersion(), node: process.versions.node };
  const card = modelCard({ ...facts, ...trained, repo: asked.repo, evaluations, files: names, versions });
  if (names.includes(README)) console.error(`note: using ${join(asked.dir, README)} as the model card`);
  else files.unshift({ path: README, content: new Blob([card]) });
  if (asked.dry) {
    console.log(names.includes(README) ? await folder.readText(README) : card);
    console.error(`Would push to ${asked.repo}: ${files.map(({ path }) => path).join(", ")}`);
    return 0;
  }
  const status = statusLine();
  try {
    const pushed = await pushFiles(files, {
      repo: asked.repo,
      private: asked.private,
      token: hubToken(),
      hubUrl: process.env.HF_ENDPOINT,
      title: `Upload ${asked.kind === "adapter" ? "an adapter" : "a model"} by qwench ${versions.qwench}`,
      signal,
      onProgress: (what, part) => status(`${what}: ${Math.round(100 * part)} %`),
    });
    status(null);
    if (!pushed.created) console.error(`note: ${asked.repo} exists; this push replaces its files with these names`);
    console.log(`${pushed.url}: ${files.length} files, commit ${pushed.commit.slice(0, 12)}`);
    return 0;
  } finally {
    status(null);
  }
}

type Found = { files: PushFile[]; facts: Pick<CardFacts, "kind" | "base" | "lora"> };

/** @throws {UsageError} the base is not a hub id */
async function adapterFiles(folder: Folder, { dir, base: asked }: Asked): Promise<Found> {
  const { config } = await readAdapter(folder);
  const named = config.base_model_name_or_path;
  const base = asked ?? named;
  if (!HUB_ID.test(base) || (asked === null && existsSync(base))) {
    throw new UsageError(
      named === ""
        ? "The adapter does not name its base: give the base's hub id with --base_model"
        : `The adapter names its base by a local path, ${named}: give the base's hub id with --base_model`,
    );
  }
  const files = await present(folder, dir, [ADAPTER_WEIGHTS_FILE, ...TOKENIZER_FILES, README]);
  const json = { ...(await readJson(folder, ADAPTER_CONFIG_FILE)), base_model_name_or_path: base };
  files.unshift({ path: ADAPTER_CONFIG_FILE, content: new Blob([JSON.stringify(json, null, 2)]) });
  return { files, facts: { kind: "adapter", base, lora: loraOf(config) } };
}

async function modelFiles(folder: Folder, { dir, base }: Asked): Promise<Found> {
  const names = await folder.list();
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  for (const name of ggufs) await openGguf(await folder.open(name)); // damaged files must not be uploaded
  if (ggufs.length === 0) await openCheckpoint(folder);
  const chosen = names.filter(
    (name) =>
      name === README ||
      MODEL_FILES.has(name) ||
      (name.endsWith(".safetensors") && name !== ADAPTER_WEIGHTS_FILE) ||
      ggufs.includes(name),
  );
  return {
    files: await present(folder, dir, chosen),
    facts: { kind: ggufs.length > 0 ? "gguf" : "model", base, lora: null },
  };
}

async function present(folder: Folder, dir: string, names: readonly string[]): Promise<PushFile[]> {
  const files: PushFile[] = [];
  for (const name of names) {
    if (await folder.exists(name)) files.push({ path: name, content: pathToFileURL(join(dir, name)) });
  }
  return files;
}

const loraOf = ({ r, lora_alpha, use_rslora, use_dora, target_modules }: AdapterConfig): CardFacts["lora"] => ({
  r,
  lora_alpha,
  use_rslora,
  use_dora,
  target_modules,
});

/** Facts about the training for the card: the run's logs, the recipe and its data. */
async function trainingFacts(
  pushed: Folder,
  { run, recipe: file }: Asked,
): Promise<Pick<CardFacts, "logs" | "recipe" | "datasets" | "method">> {
  const folder = run === null ? pushed : nodeFolder(run);
  let logs: LogRecord[] = [];
  if (await folder.exists(metricsFile)) {
    logs = readMetrics(await folder.readText(metricsFile), `${folder.path}/${metricsFile}`);
  } else if (run !== null) throw new NotFoundError(`Cannot read the run ${run}: it has no ${metricsFile}`);
  const recipe = file === null ? null : await text(file);
  const named = recipe === null ? null : (parse(recipe) as { dataset_name?: unknown } | null)?.dataset_name;
  const datasets = typeof named === "string" && HUB_ID.test(named) && !existsSync(named) ? [named] : [];
  return { logs, recipe, datasets, method: methodOfLogs(logs) };
}

/** The method whose metrics are in the logs, or null. */
function methodOfLogs(logs: readonly LogRecord[]): CardFacts["method"] {
  const holds = (name: string) => logs.some((log) => log[name] !== undefined);
  if (holds("reward")) return "grpo";
  if (holds("rewards/margins")) return "dpo";
  return logs.length > 0 ? "sft" : null;
}

async function readResults(file: string): Promise<EvalResults> {
  const { results } = parseJsonObject(await text(file), file) as { results?: Partial<EvalResults> };
  const numbers: (keyof EvalResults)[] = ["total_problems", "n_sampling", "temperature", "max_tokens"];
  const bad = numbers.find((name) => typeof results?.[name] !== "number");
  if (bad || typeof results!.dataset !== "string" || typeof results!.pass_at !== "object") {
    throw new FormatError(
      `Cannot read ${file} as a result of qwench eval: results.${bad ?? "dataset or pass_at"} is missing`,
    );
  }
  return results as EvalResults;
}

async function text(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new NotFoundError(`Cannot read ${file}: there is no such file`, { cause: error });
  }
}
