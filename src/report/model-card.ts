import { stringify } from "yaml";
import type { EvalResults } from "../eval/results.ts";
import { formatFixed, formatNumber } from "../text/numbers.ts";
import { markdownCell, markdownTable } from "../text/tables.ts";
import { METRICS } from "./metrics.ts";
import type { LogRecord } from "./text.ts";

/** A row of a card's evaluation table. */
export type CardEvaluation = Pick<
  EvalResults,
  | "model_type"
  | "dataset"
  | "total_problems"
  | "pass_at"
  | "majority_accuracy"
  | "n_sampling"
  | "temperature"
  | "max_tokens"
>;

/** The contents of a model card. */
export interface CardFacts {
  /** owner/name of the repository */
  repo: string;
  kind: "adapter" | "model" | "gguf";
  /** hub id of the base, if known */
  base: string | null;
  /** hub ids of data sets */
  datasets: readonly string[];
  method: "sft" | "grpo" | "dpo" | null;
  /** settings of the adapter */
  lora: {
    r: number;
    lora_alpha: number;
    use_rslora: boolean;
    use_dora?: boolean;
    target_modules: readonly string[] | string;
  } | null;
  /** the recipe's YAML */
  recipe: string | null;
  /** metrics.jsonl */
  logs: readonly LogRecord[];
  evaluations: readonly CardEvaluation[];
  /** file names of the repository */
  files: readonly string[];
  versions: Readonly<Record<string, string>>;
}

/** Most rows in the table of curves. */
const ROWS = 10;
const LIBRARY = { adapter: "peft", model: "transformers", gguf: null };

/**
 * The README.md of a hub repository: front matter for the hub, usage, training and results. Texts from files are escaped, so
 * that none ends a table, a code block or the front matter.
 */
export function modelCard(facts: CardFacts): string {
  const name = facts.repo.split("/").at(-1)!;
  const parts = [
    `---\n${stringify(frontMatter(facts), { lineWidth: 0 })}---\n`,
    `# ${name}\n`,
    intro(facts),
    section("How to use it", usage(facts)),
    section("Evaluation", evaluationTable(facts.evaluations)),
    section("Training", training(facts)),
    section(
      "Versions",
      Object.entries(facts.versions)
        .map(([what, version]) => `- ${what} ${version}`)
        .join("\n"),
    ),
  ];
  return `${parts.filter((part) => part !== "").join("\n")}`;
}

function frontMatter({ base, kind, datasets, method }: CardFacts): Record<string, unknown> {
  return {
    ...(base && { base_model: base }),
    ...(LIBRARY[kind] && { library_name: LIBRARY[kind] }),
    pipeline_tag: "text-generation",
    tags: ["qwench", ...(kind === "adapter" ? ["lora"] : kind === "gguf" ? ["gguf"] : []), ...(method ? [method] : [])],
    ...(datasets.length > 0 && { datasets: [...datasets] }),
  };
}

function intro({ kind, base, method }: CardFacts): string {
  const what = {
    adapter: "A LoRA adapter in PEFT's format",
    model: "A model with its LoRA adapter merged into it",
    gguf: "A model in GGUF, for llama.cpp and Ollama",
  }[kind];
  const of = base ? ` of [${base}](https://huggingface.co/${base})` : "";
  const by = method ? `, trained by ${method.toUpperCase()}` : "";
  return `${what}${of}${by} with [Qwench](https://www.npmjs.com/package/qwench), on WebGPU.\n`;
}

function usage({ kind, repo, base, files }: CardFacts): string {
  if (kind === "gguf") {
    const file = files.find((name) => name.endsWith(".gguf"))!;
    return fenced("sh", `llama-cli -hf ${repo} --hf-file ${file}\nollama run hf.co/${repo}`);
  }
  const load =
    kind === "adapter"
      ? `from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\nmodel = AutoPeftModelForCausalLM.from_pretrained(${JSON.stringify(repo)})\ntokenizer = AutoTokenizer.from_pretrained(${JSON.stringify(files.includes("tokenizer.json") ? repo : (base ?? repo))})`
      : `from transformers import AutoModelForCausalLM, AutoTokenizer\n\nmodel = AutoModelForCausalLM.from_pretrained(${JSON.stringify(repo)})\ntokenizer = AutoTokenizer.from_pretrained(${JSON.stringify(repo)})`;
  const option = kind === "adapter" ? "--adapter" : "--model";
  return `${fenced("python", load)}\n${fenced("sh", `npx qwench chat ${option} ${repo}`)}`;
}

function evaluationTable(evaluations: readonly CardEvaluation[]): string {
  if (evaluations.length === 0) return "";
  const ks = [...new Set(evaluations.flatMap(({ pass_at }) => Object.keys(pass_at)))].sort((a, b) => +a - +b);
  const rows = evaluations.map((results) => [
    results.model_type,
    results.dataset,
    String(results.total_problems),
    ...ks.map((k) => formatFixed(results.pass_at[k])),
    formatFixed(results.majority_accuracy),
    String(results.n_sampling),
    formatNumber(results.temperature),
    String(results.max_tokens),
  ]);
  const heads = [
    "model",
    "data set",
    "problems",
    ...ks.map((k) => `pass@${k}`),
    "majority",
    "n",
    "temperature",
    "max tokens",
  ];
  return `${textTable(heads, rows, 2)}\nShares are percentages of problems; pass@k is the unbiased estimate from n responses per problem.\n`;
}

function training(facts: CardFacts): string {
  const { lora, datasets, logs, recipe } = facts;
  const lines: string[] = [];
  if (lora) {
    const scale = `α ${lora.lora_alpha}${lora.use_rslora ? ", rank-stabilised" : ""}`;
    lines.push(
      `${lora.use_dora ? "DoRA" : "LoRA"} of rank ${lora.r}, ${scale}, on ${[lora.target_modules].flat().join(", ")}.\n`,
    );
  }
  if (datasets.length > 0) {
    lines.push(`Data: ${datasets.map((id) => `[${id}](https://huggingface.co/datasets/${id})`).join(", ")}.\n`);
  }
  const curves = curveTable(logs);
  if (curves !== "") lines.push(curves);
  if (recipe !== null)
    lines.push(
      `The recipe, for \`qwench\`${facts.method ? ` and \`trl ${facts.method}\`` : ""}:\n\n${fenced("yaml", recipe.trim())}`,
    );
  return lines.join("\n");
}

/** Evenly spaced logs, including the first and the last. */
function curveTable(logs: readonly LogRecord[]): string {
  const has = (key: string) => logs.some((log) => typeof log[key] === "number");
  const columns = METRICS.filter(({ name, card }) => card && has(name));
  if (columns.length === 0) return "";
  // a step's training log and its evaluation are separate records
  const steps = new Map<number, Record<string, unknown>>();
  for (const log of logs) steps.set(log.step, { ...steps.get(log.step), ...log });
  const all = [...steps.values()];
  const count = Math.min(ROWS, all.length);
  const chosen = Array.from(
    { length: count },
    (_, i) => all[Math.round((i * (all.length - 1)) / Math.max(1, count - 1))],
  );
  const rows = chosen.map((log) => [String(log.step), ...columns.map(({ name }) => formatNumber(log[name]))]);
  return textTable(["step", ...columns.map(({ label }) => label)], rows, 0);
}

function section(title: string, body: string): string {
  return body === "" ? "" : `## ${title}\n\n${body.trimEnd()}\n`;
}

/** A table whose cells show any text unchanged, with the first `left` columns left-aligned. */
function textTable(headings: readonly string[], rows: readonly string[][], left: number): string {
  const columns = headings.map((heading, i) => {
    return { heading: markdownCell(heading), align: i < left ? "left" : "right" } as const;
  });
  const cells = rows.map((row) => row.map(markdownCell));
  return `${markdownTable(columns, cells)}\n`;
}

/** A code block whose fence the text cannot close. */
function fenced(language: string, text: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${text}\n${fence}\n`;
}
