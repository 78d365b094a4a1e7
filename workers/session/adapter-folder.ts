import { parseJsonObject } from "../../src/io/checkpoint.ts";
import { ADAPTER_CONFIG_FILE, type AdapterConfig } from "../../src/io/peft.ts";
import { type CardEvaluation, type CardFacts, modelCard } from "../../src/report/model-card.ts";
import { stageName } from "../../src/report/names.ts";
import type { MergedFile } from "../../src/session/export.ts";
import { answerTokens, nameOfData, nameOfModel } from "./recipes.ts";
import type { StoredRun } from "./runs.ts";
import { pieces } from "./zip.ts";

/** A small text file beside an adapter. */
interface TextFile {
  name: string;
  content: string;
}

/** One recipe per phase, which `qwench` and `trl` read: `1-sft.yaml`, `2-grpo.yaml`. */
export function recipeFiles(run: StoredRun): TextFile[] {
  return run.recipes.map((yaml, i) => {
    const { method } = run.phases[i];
    const goesOn = i > 0 ? `, from the adapter of phase ${i} (--adapter_name_or_path)` : "";
    const head = `# Phase ${i + 1} of ${run.phases.length} of ${run.name.replace(/\s+/g, " ")}: qwench ${method}, or trl ${method}${goesOn}\n`;
    return { name: run.phases.length > 1 ? `${i + 1}-${method}.yaml` : `${method}.yaml`, content: head + yaml };
  });
}

/**
 * A run's adapter as a folder for PEFT, with README.md (the card), one recipe per phase, and metrics.jsonl.
 *
 * @param repo the name that the card uses
 * @param files of the export
 */
export async function* adapterFolder(
  run: StoredRun,
  repo: string,
  files: AsyncIterable<MergedFile>,
): AsyncGenerator<MergedFile> {
  const names: string[] = [];
  let config: AdapterConfig | null = null;
  for await (const file of files) {
    names.push(file.name);
    if (file.name === ADAPTER_CONFIG_FILE) {
      const text = await textOf(file.content);
      config = parseJsonObject(text, ADAPTER_CONFIG_FILE) as unknown as AdapterConfig;
      yield { ...file, content: text };
    } else yield file;
  }
  const recipes = recipeFiles(run);
  const metrics = run.logs.flatMap((logs, phase) => logs.map((log) => JSON.stringify({ phase: phase + 1, ...log })));
  yield* recipes;
  yield { name: "metrics.jsonl", content: `${metrics.join("\n")}\n` };
  const all = [...names, ...recipes.map(({ name }) => name), "metrics.jsonl"];
  yield { name: "README.md", content: modelCard(factsOf(run, repo, config, all)) };
}

function factsOf(run: StoredRun, repo: string, config: AdapterConfig | null, files: readonly string[]): CardFacts {
  const { model, phases } = run.job;
  const last = phases.length - 1;
  return {
    ...{ repo, kind: "adapter", files },
    base: model.kind === "hub" ? model.id : null,
    datasets: [...new Set(phases.flatMap(({ data }) => (data.kind === "hub" ? [data.id] : [])))],
    method: phases[last].method,
    lora: config,
    recipe: run.recipes[last] ?? null,
    logs: run.logs[last] ?? [],
    evaluations: run.evaluations.map((evaluation) => evaluationRow(run, evaluation)),
    versions: { browser: globalThis.navigator?.userAgent ?? "unknown" },
  };
}

/** An evaluation as the card's table has it: one greedy answer per problem. */
function evaluationRow(
  run: StoredRun,
  { stage, step, accuracy, problems }: StoredRun["evaluations"][number],
): CardEvaluation {
  const { evaluate } = run.job;
  const share = 100 * accuracy;
  return {
    model_type: stage === "base" ? `${nameOfModel(run.job.model)}, before` : stageName({ stage, step }),
    dataset: evaluate ? nameOfData(evaluate.data) : "held-out problems",
    total_problems: problems.length,
    pass_at: { 1: share },
    majority_accuracy: share,
    n_sampling: 1,
    temperature: 0,
    max_tokens: answerTokens(run.job),
  };
}

async function textOf(content: MergedFile["content"]): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of pieces(content)) text += decoder.decode(piece, { stream: true });
  return text + decoder.decode();
}
