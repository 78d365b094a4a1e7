import type { Method } from "../../recipe/recipe.ts";
import { type CompletionsLog, openCompletionsLog } from "../../session/completions-log.ts";
import type { CompletionRecord } from "../../session/grpo.ts";
import type { PreparedBase } from "../../session/open.ts";
import type { Training } from "../../session/train.ts";
import { formatNumber } from "../../text/numbers.ts";
import { completionsTable } from "../terminal/completions-table.ts";
import type { Progress } from "../terminal/progress.ts";
import { statusLine } from "../terminal/status-line.ts";
import type { RunKind } from "./follow.ts";

/** How the command line shows a run of each method, and the line that describes the run. A new method is a new entry. */
const KINDS: { [M in Method]: (training: Training<M>) => RunKind & { description: string } } = {
  sft: ({ prepared }) => ({
    method: "sft",
    title: "Supervised fine-tuning",
    description: `${describeModel(prepared)}; ${describeRows(prepared)}; ${formatNumber(prepared.batches.max_steps)} steps`,
  }),
  grpo: ({ prepared, recipe }) => ({
    method: "grpo",
    title: "GRPO",
    description: `${describeModel(prepared)}; ${formatNumber(prepared.rows)} prompts; ${formatNumber(prepared.batches.max_steps)} steps; generation batches of ${formatNumber(prepared.batches.prompts)} prompts × ${recipe.num_generations} completions of at most ${formatNumber(recipe.max_completion_length)} tokens`,
    ...completionsOf(recipe),
  }),
  dpo: ({ prepared, recipe }) => ({
    method: "dpo",
    title: "Direct preference optimization",
    description: `${describeModel(prepared)}; ${formatNumber(prepared.rows)} pairs, ${formatNumber(prepared.train.num_tokens)} tokens; ${formatNumber(prepared.batches.max_steps)} steps; reference: ${referenceName(prepared)}, loss ${recipe.loss_type}`,
    ...precomputing(),
  }),
};

/** How the command line shows a prepared run. */
export function kindOf<M extends Method>(training: Training<M>): RunKind & { description: string } {
  return KINDS[training.method as M](training);
}

function referenceName({ adapter, continued }: PreparedBase): string {
  if (adapter) return "the initial adapter";
  return continued ? "the model before training" : "the base model";
}

function describeModel({ forecast, lora }: PreparedBase): string {
  const kind = lora?.use_dora ? "DoRA" : "LoRA";
  const tables = lora?.modules_to_save ? `, and ${lora.modules_to_save.join(" and ")} whole` : "";
  const ids = Object.values(lora?.trainable_token_indices ?? {}).flat();
  const rows = ids.length > 0 ? `, and ${ids.length} tokens' rows` : "";
  const what = lora
    ? `${kind} r=${lora.r} on ${[lora.target_modules].flat().join(", ")}${tables}${rows}`
    : "all weights";
  return `${formatNumber(forecast.trainable)} of ${formatNumber(forecast.parameters)} parameters (${what})`;
}

function describeRows({ train, rows }: Training<"sft">["prepared"]): string {
  if (train === null) return "streamed rows";
  return `${formatNumber(rows)} rows, ${formatNumber(train.num_tokens)} tokens, ${formatNumber(train.num_labels)} labelled`;
}

/** Shows the progress of the reference's log-probs, if they are computed before the first step. */
function precomputing(): Pick<RunKind, "onProgress"> {
  const status = statusLine();
  return { onProgress: (what, done, total) => status(done < total ? `Taking ${what}: ${done} of ${total}` : null) };
}

/** Stores the completions of a run in its folder, and shows them if the recipe says so. */
function completionsOf(recipe: {
  log_completions: boolean;
  num_completions_to_print: number | null;
}): Omit<RunKind, "title" | "method"> {
  const most = recipe.num_completions_to_print ?? Number.POSITIVE_INFINITY;
  let log: CompletionsLog | null = null;
  let shown: Progress | null = null;
  let newest: readonly CompletionRecord[] = [];
  return {
    follow(progress) {
      shown = progress;
    },
    onProgress: (what, done, total) => shown?.doing(`${what} ${done}/${total}`),
    async begin(output, step) {
      log = await openCompletionsLog(output, step);
    },
    async take(event, progress) {
      if (event.type === "generated") {
        newest = event.records;
        await log!.append(event.step, newest);
      } else if (event.type === "warning") progress.message(`warning: ${event.text}`);
      else if (event.type === "log" && recipe.log_completions && newest.length > 0) {
        progress.message(completionsTable(newest.slice(0, most), process.stderr.columns || 120));
      }
    },
    report: async () => ({ completions: await log!.samples() }),
  };
}
