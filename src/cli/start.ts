import { embeddedRows } from "../data/sets/embedded.ts";
import { softwareRenderer } from "../gpu/cpu-adapters/names.ts";
import { nodeFolder } from "../platform/node/fs.ts";
import { goldAnswer } from "../rewards/answers.ts";
import { type HeldOutResult, solveHeldOut } from "../session/evaluate.ts";
import { loadAdapter, loadText, prepareText, setAdapter, type TextModel } from "../session/generate.ts";
import { formatShare } from "../text/numbers.ts";
import { renderTable } from "../text/tables.ts";
import { main } from "./main.ts";
import { openGpu, reuseGpu } from "./runs/open-gpu.ts";
import { EMBEDDED_ANSWER_TOKENS, EMBEDDED_OUTPUT } from "./sources/embedded.ts";
import { embeddedModelFolder } from "./sources/embedded-folder.ts";

/** Scores of the three stages on the held-out problems. */
interface StartResult {
  base: number;
  sft: number;
  grpo: number;
}

interface Stage {
  name: string;
  /** with greedy decoding */
  greedy: HeldOutResult;
  /** at temperature 1 */
  sampled: HeldOutResult;
}

/** Fewer steps for SwiftShader, which takes about five times as long as Mesa's renderer. */
const SHORT_STEPS = { sft: 32, grpo: 16 };

/**
 * Trains the embedded model by SFT and then GRPO, and evaluates it before and after each on the same held-out problems.
 * Replaces earlier runs in `output`.
 *
 * @returns null if a run failed or was interrupted, after printing the reason
 */
export async function start({ output = EMBEDDED_OUTPUT, seed = 42 } = {}): Promise<StartResult | null> {
  const opened = await openGpu();
  const { gpu, platform } = opened;
  reuseGpu(() => Promise.resolve(opened));
  const short = softwareRenderer(platform.describe) === "swiftshader";
  const problems = embeddedRows("test");
  const sources = { gpu, model: nodeFolder(embeddedModelFolder()), together: problems.length };
  const text = await loadText(await prepareText(sources), sources);
  const stages: Stage[] = [];
  const measure = async (name: string, adapter: string | null) => {
    if (adapter) setAdapter(text.model, await loadAdapter(text.model, nodeFolder(adapter)));
    const greedy = await ask(text, problems, 0);
    stages.push({ name, greedy, sampled: await ask(text, problems, 1) });
    console.error(`${name}: ${formatShare(greedy.accuracy, 1)} of ${problems.length} held-out problems solved\n`);
    return greedy.accuracy;
  };
  const train = async (method: "sft" | "grpo", ...flags: string[]) => {
    const folder = `${output}/${method}`;
    const common = ["--output_dir", folder, "--overwrite_output_dir", "true", "--seed", String(seed)];
    const fewer = short ? ["--max_steps", String(SHORT_STEPS[method])] : [];
    return (await main([method, ...common, ...fewer, ...flags])) === 0 ? folder : null;
  };

  const base = await measure("Before training", null);
  console.error("1 of 2. SFT teaches the model to answer between tags:");
  const tuned = await train("sft");
  if (!tuned) return null;
  const sft = await measure("After SFT", tuned);
  console.error("2 of 2. GRPO rewards the format and, most of all, correct answers:");
  const reinforced = await train("grpo", "--adapter_name_or_path", tuned);
  if (!reinforced) return null;
  const grpo = await measure("After GRPO", reinforced);

  console.log(summary(stages, problems));
  console.log(`Adapter: ${reinforced}; curves and completions: ${reinforced}/report.html

Next
  npx qwench chat --model ${sources.model.path} --adapter ${reinforced}
  npx qwench grpo --learning_rate 1e-3 --output_dir qwench-faster     every option is a flag: npx qwench grpo --help
  npx qwench sft --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --dataset_name openai/gsm8k --dataset_config main --learning_rate 2e-4 --max_length 512 --output_dir qwench-gsm8k`);
  return { base, sft, grpo };
}

type Problems = ReturnType<typeof embeddedRows>;

function ask({ model, tokenizer }: TextModel, problems: Problems, temperature: number): Promise<HeldOutResult> {
  return solveHeldOut(model, tokenizer, problems, { max_new_tokens: EMBEDDED_ANSWER_TOKENS, temperature });
}

/** The stages side by side, with each stage's answer to the first problem that only the last stage solves. */
function summary(stages: readonly Stage[], problems: Problems): string {
  const last = stages.length - 1;
  const only = problems.findIndex((_, p) =>
    stages.every(({ greedy }, s) => greedy.problems[p].correct === (s === last)),
  );
  const shown = Math.max(0, only);
  const rows = stages.map(({ name, greedy, sampled }) => [
    name,
    formatShare(greedy.accuracy, 1),
    formatShare(sampled.accuracy, 1),
    greedy.problems[shown].completion.trim(),
  ]);
  const right = { align: "right" as const };
  const columns = [
    { heading: "" },
    { heading: "greedy", ...right },
    { heading: "temperature 1", ...right },
    { heading: "its answer" },
  ];
  const { prompt, answer } = problems[shown];
  const head = `Solved, of ${problems.length} held-out problems; for example: ${prompt[0].content} (${goldAnswer({ answer })})`;
  return `${head}\n\n${renderTable(columns, rows, process.stdout.columns)}`;
}
