import type { CompletionRecord, RewardInput, RunRecord, Turn } from "../../src/client/types.ts";
import type { App } from "../app.ts";

/** Runs to look through for completions, the newest first. */
const MOST_RUNS = 5;

/** The last generation batch of the run in training, or else of the newest run that has one. */
export async function lastBatch(app: App): Promise<{ run: string; step: number; input: RewardInput } | null> {
  const active = app.active.value?.record;
  const found = active && active.completions.length > 0 ? active : await newest(app);
  const batch = found?.completions.at(-1);
  return batch && found ? { run: found.name, step: batch.step, input: inputOf(batch.records) } : null;
}

async function newest(app: App): Promise<RunRecord | null> {
  const runs = [...(await app.trainer.runs.list())].sort((a, b) => b.created - a.created);
  const drew = runs.filter(({ phases }) => phases.some(({ method }) => method === "grpo"));
  for (const { id } of drew.slice(0, MOST_RUNS)) {
    const record = await app.trainer.runs.get(id);
    if (record.completions.length > 0) return record;
  }
  return null;
}

/** Records of completions as a reward function gets them. */
function inputOf(records: readonly CompletionRecord[]): RewardInput {
  const names = [...new Set(records.flatMap(({ columns = {} }) => Object.keys(columns)))];
  const prompts = records.map(({ prompt }) => turnsOf(prompt));
  return {
    prompts,
    completions: records.map(({ completion }, i) =>
      typeof prompts[i] === "string" ? completion : [{ role: "assistant", content: completion }],
    ),
    columns: Object.fromEntries(names.map((name) => [name, records.map(({ columns = {} }) => columns[name] ?? null)])),
    completion_ids: null,
    step: (records[0]?.step ?? 1) - 1,
  };
}

/** The messages of a ChatML prompt without the answer's header; any other prompt unchanged. */
function turnsOf(prompt: string): Turn {
  if (!prompt.includes("<|im_start|>")) return prompt;
  return prompt.split("<|im_start|>").flatMap((part) => {
    const end = part.indexOf("<|im_end|>");
    const line = part.indexOf("\n");
    return end < 0 || line < 0 ? [] : [{ role: part.slice(0, line), content: part.slice(line + 1, end) }];
  });
}
