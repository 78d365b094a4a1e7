import { AbortError, QwenchError, RecipeError } from "../errors.ts";
import { methods, nearestName } from "../recipe/recipe.ts";
import { parseArgs, UsageError } from "./args.ts";
import type { Command } from "./command.ts";
import { CHAT_FLAGS, runChat } from "./commands/chat.ts";
import { runDoctor, runInfo, runPlan } from "./commands/commands.ts";
import { COMPARE_FLAGS, runCompare } from "./commands/compare.ts";
import { runData } from "./commands/data.ts";
import { EVAL_FLAGS, runEval } from "./commands/eval.ts";
import { EXPORT_FLAGS, runExport } from "./commands/export.ts";
import { GENERATE_FLAGS, runGenerate } from "./commands/generate.ts";
import { GRADE_FLAGS, runGrade } from "./commands/grade.ts";
import { PUSH_FLAGS, runPush } from "./commands/push.ts";
import { RECIPE_COMMAND_FLAGS, runRecipe } from "./commands/recipe.ts";
import { runTrain } from "./commands/train.ts";
import { runUi, UI_FLAGS } from "./commands/ui.ts";
import { DATA_FLAGS } from "./flags/data-flags.ts";
import { methodOf, RECIPE_FLAG } from "./runs/prepare.ts";
import { DRY_RUN_FLAG } from "./sources/dry-run.ts";
import { completionScript, SHELLS } from "./terminal/completions.ts";
import { describeName } from "./terminal/describe.ts";
import { commandHelp, shortHelp } from "./terminal/help.ts";
import { EXIT_INTERRUPTED } from "./terminal/interrupt.ts";
import { packageVersion } from "./version.ts";

export const COMMANDS: Readonly<Record<string, Command>> = {
  sft: {
    usage: "qwench sft [recipe.yaml | --recipe NAME] [--field value]…",
    summary:
      "Fine-tunes a Qwen checkpoint on rows of text, chat or tokens. Flags override the recipe's file. Without a model and rows, it trains the embedded model.",
    examples: [
      "qwench sft",
      "qwench sft --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --dataset_name rows.jsonl --output_dir my-adapter",
      "qwench sft --recipe coder-deep --dry_run tiny",
    ],
    main: [
      "model_name_or_path",
      "dataset_name",
      "output_dir",
      "num_train_epochs",
      "per_device_train_batch_size",
      "learning_rate",
      "max_length",
      "lora_r",
      "resume_from_checkpoint",
    ],
    method: "sft",
    flags: [RECIPE_FLAG, DRY_RUN_FLAG],
    run: runTrain,
  },
  grpo: {
    usage: "qwench grpo [recipe.yaml | --recipe NAME] [--field value]…",
    summary:
      "Trains a Qwen checkpoint by rewards: it samples completions of prompts, scores them and reinforces the better ones. Without a model and rows, it continues the embedded model's SFT.",
    examples: [
      "qwench grpo",
      "qwench grpo --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --dataset_name gsm8k --reward_funcs gsm8k_correctness_reward --output_dir my-adapter",
      "qwench grpo --recipe gsm8k-grpo-0.5b --dry_run tiny",
    ],
    main: [
      "model_name_or_path",
      "dataset_name",
      "reward_funcs",
      "output_dir",
      "max_steps",
      "num_generations",
      "max_completion_length",
      "learning_rate",
      "beta",
    ],
    method: "grpo",
    flags: [RECIPE_FLAG, DRY_RUN_FLAG],
    run: runTrain,
  },
  dpo: {
    usage: "qwench dpo [recipe.yaml | --recipe NAME] [--field value]…",
    summary:
      "Trains a Qwen checkpoint on preferences: rows with a prompt, a chosen and a rejected completion. Without a model and rows, the embedded model learns to prefer worked answers.",
    examples: [
      "qwench dpo",
      "qwench dpo --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --dataset_name pairs.jsonl --output_dir my-adapter",
      "qwench dpo --recipe ultrafeedback-dpo --dry_run tiny",
    ],
    main: [
      "model_name_or_path",
      "dataset_name",
      "output_dir",
      "num_train_epochs",
      "per_device_train_batch_size",
      "learning_rate",
      "beta",
      "loss_type",
      "lora_r",
    ],
    method: "dpo",
    flags: [RECIPE_FLAG, DRY_RUN_FLAG],
    run: runTrain,
  },
  data: {
    usage:
      "qwench data make FILE|FOLDER|URL… [--output DIR], or data ingest|chunk|create|curate|save-as, or data show ROWS",
    summary:
      "Makes training rows of documents (PDF, HTML, DOCX, PPTX, Markdown, text, transcripts): clean text, chunks, question-answer pairs by a model, ratings, rows. Every reply is on disk before the next is asked, and the same command continues. show says what rows are, and how a run would see them.",
    examples: [
      "qwench data make handbook.pdf --model Qwen/Qwen2.5-1.5B-Instruct --output my-data",
      "qwench data make notes/ --type cot --threshold 7 --format messages --output my-data",
      "qwench data show train.jsonl --columns prompt=q,completion=a",
    ],
    main: ["output", "type", "num_pairs", "threshold", "format", "model", "api_base", "api_model", "config"],
    flags: DATA_FLAGS,
    run: runData,
  },
  generate: {
    usage: "qwench generate [--model PATH] PROMPT, or --file ROWS [--output FILE]",
    summary:
      "Answers a prompt and prints the answer while it is generated, or answers every row of a file. Ctrl-C keeps finished rows.",
    examples: [
      'qwench generate "Tom has 3 apples and buys 4."',
      "qwench generate --adapter my-adapter --file rows.jsonl --output answers.jsonl",
      'qwench generate --model Qwen/Qwen2.5-0.5B-Instruct --n 4 --temperature 1 "Write a haiku."',
    ],
    main: ["prompt", "file", "output", "model", "adapter", "n", "temperature", "max_new_tokens", "system"],
    flags: GENERATE_FLAGS,
    run: runGenerate,
  },
  chat: {
    usage: "qwench chat [--model PATH] [--adapter PATH]",
    summary: "Starts a conversation in the terminal, or with the lines of a pipe. /help lists its commands.",
    examples: [
      "qwench chat",
      "qwench chat --adapter my-adapter",
      'qwench chat --model Qwen/Qwen2.5-0.5B-Instruct --system "Answer briefly."',
    ],
    main: ["model", "adapter", "system", "temperature", "top_p", "max_new_tokens", "seed"],
    flags: CHAT_FLAGS,
    run: runChat,
  },
  grade: {
    usage: "qwench grade FILE.jsonl [--json]",
    summary:
      "Grades rows with gold, pred and optionally expected: is the answer in pred equal to gold? Prints the agreement and every disagreement.",
    examples: ["qwench grade answers.jsonl", "qwench grade answers.jsonl --json", "qwench help grade"],
    flags: GRADE_FLAGS,
    run: runGrade,
  },
  eval: {
    usage: "qwench eval [NAME|ROWS|ocr ROWS] [--model PATH] [--adapter PATH] [--n 8] [--k 1,5]",
    summary:
      "Evaluates a model: it samples n responses to each problem of a data set, grades them, and reports pass@k and the majority vote. Ctrl-C keeps finished problems, and the same command continues. Without a model and a data set, it evaluates the embedded model on its held-out problems. With ocr, it measures word and character errors of the texts that a model reads in images.",
    examples: [
      "qwench eval",
      "qwench eval gsm8k --model Qwen/Qwen2.5-0.5B-Instruct --adapter my-adapter --limit 100",
      "qwench eval math500 --adapter my-adapter --n 8 --k 1,8 --temperature 0.7 --output math500.json",
    ],
    main: ["model", "adapter", "limit", "n", "k", "temperature", "max_tokens", "output"],
    flags: EVAL_FLAGS,
    run: runEval,
  },
  compare: {
    usage: "qwench compare A.json B.json … [--base NAME] [--output DIR]",
    summary:
      "Compares evaluations of models or checkpoints: scores, improvement over a base, problems lost and won, the best checkpoint. It reads what qwench eval writes, and Unsloth's evaluations.",
    examples: [
      "qwench compare base.json tuned.json",
      "qwench compare base.json tuned.json --base base",
      "qwench compare base.json tuned.json --output comparison",
    ],
    flags: COMPARE_FLAGS,
    run: runCompare,
  },
  export: {
    usage: `qwench export --adapter PATH --format lora|merged_16bit|merged_4bit|gguf --output DIR`,
    summary:
      "Writes an adapter, or its base with the adapter merged, for transformers, vLLM, llama.cpp or Ollama, and checks that the result behaves like the adapter.",
    examples: [
      "qwench export --adapter my-adapter --format merged_16bit --output my-model",
      "qwench export --adapter my-adapter --format gguf --quantization q8_0 --output my-gguf",
      "qwench export --adapter my-adapter --format lora --output my-lora",
    ],
    flags: EXPORT_FLAGS,
    run: runExport,
  },
  push: {
    usage: "qwench push --adapter DIR --repo USER/NAME [--private]",
    summary:
      "Puts an adapter or an exported model on the Hugging Face hub, with a model card that shows its base, recipe, curves and evaluations. HF_TOKEN holds the token.",
    examples: [
      "qwench push --adapter my-adapter --repo me/my-adapter",
      "qwench push --model my-model --repo me/my-model --private",
      "qwench push --adapter my-adapter --repo me/my-adapter --dry_run",
    ],
    flags: PUSH_FLAGS,
    run: runPush,
  },
  plan: {
    usage: "qwench plan [recipe.yaml | --recipe NAME] [--method sft|grpo|dpo] [--field value]…",
    summary:
      "Forecasts what a run takes from its recipe: memory, download, disk and time. Says whether it fits. It downloads no weights.",
    examples: [
      "qwench plan --recipe gsm8k-grpo-0.5b",
      "qwench plan --recipe coder-deep --max_length 4096",
      "qwench plan --method sft --model_name_or_path Qwen/Qwen2.5-1.5B-Instruct --max_length 2048",
    ],
    main: [
      "recipe",
      "method",
      "model_name_or_path",
      "max_length",
      "per_device_train_batch_size",
      "load_in_4bit",
      "gradient_checkpointing",
    ],
    method: "any",
    flags: [
      RECIPE_FLAG,
      {
        name: "method",
        type: "string",
        value: methods.join("|"),
        help: "The method of the recipe. Default: sft if it has every field in the recipe, else grpo or dpo, whichever has more of the fields.",
      },
      {
        name: "measure",
        type: "boolean",
        help: "Measure an adapter on the CPU for the time forecast, once, however long its kernels take to compile. A GPU, and a CPU whose driver kept the kernels, are measured anyway, in 3 s.",
      },
    ],
    run: runPlan,
  },
  recipe: {
    usage: "qwench recipe [NAME | recipe.yaml] [--for trl]",
    summary: "Lists the published recipes included in Qwench, or prints a recipe as YAML, for Qwench or for TRL.",
    examples: ["qwench recipe", "qwench recipe gsm8k-grpo-0.5b", "qwench recipe gsm8k-grpo-0.5b --for trl"],
    flags: [...RECIPE_COMMAND_FLAGS],
    run: runRecipe,
  },
  ui: {
    usage: "qwench ui [OUTPUT_DIR…] [--port INT] [--open]",
    summary:
      "Shows the runs in some folders in a page, while they train and after: curves, completions, recipes. It only reads, and answers this machine only. A folder is a run's output_dir or holds several; default: the working directory.",
    examples: ["qwench ui my-adapter", "qwench ui runs/ --open", "qwench ui --port 8765"],
    flags: UI_FLAGS,
    run: runUi,
  },
  info: {
    usage: "qwench info [--json]",
    summary: "Shows the adapter, its features and limits, and which of them Qwench uses.",
    examples: ["qwench info", "qwench info --json", "qwench help info"],
    flags: [{ name: "json", type: "boolean", help: "Print JSON." }],
    run: runInfo,
  },
  doctor: {
    usage: "qwench doctor",
    summary: "Checks every kernel against its float64 reference on this adapter.",
    examples: ["qwench doctor", "qwench info", "qwench help doctor"],
    run: runDoctor,
  },
};

const OVERVIEW = `Usage: qwench COMMAND

Trains small Qwen models on WebGPU.

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`)
  .join("\n")}

qwench COMMAND --help: a command in short; qwench help COMMAND: all of its flags; qwench help FLAG: one flag or recipe field.
qwench completions bash|zsh|fish prints a script that completes commands and flags. qwench --version prints the version.
Exit codes: 0 done, 1 failure, 2 wrong usage or recipe, 130 interrupted.
`;

/** Runs one command line. @returns the exit code */
export async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h" || (name === "help" && rest.length === 0)) {
    process.stdout.write(OVERVIEW);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "-v" || name === "version") {
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : null;
  const width = Math.min(120, process.stdout.columns ?? 100);
  try {
    if (name === "completions" && /^(--help|-h)$/.test(rest.at(-1) ?? "")) {
      process.stdout.write(OVERVIEW);
      return 0;
    }
    if (name === "help" || name === "completions") {
      process.stdout.write(name === "help" ? help(rest, width) : completions(rest));
      return 0;
    }
    if (!command) {
      const near = nearestName(name, [...Object.keys(COMMANDS), "help", "completions"]);
      throw new UsageError(`There is no command ${name}${near ? `: did you mean ${near}?` : ""}`);
    }
    const method = command.method === "any" ? await methodOf(rest) : command.method;
    const args = parseArgs(rest, { method, flags: command.flags });
    if (args.flags.help) {
      process.stdout.write(shortHelp(name, { ...command, method }, width));
      return 0;
    }
    return await command.run(args, method);
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${error.message}\nqwench${command ? ` ${name}` : ""} --help lists the flags.`);
      return 2;
    }
    if (error instanceof AbortError) {
      console.error(error.message);
      return EXIT_INTERRUPTED;
    }
    if (error instanceof RecipeError) {
      console.error(`${error.name}: ${error.message}`);
      return 2; // the command line or its recipe asks for what cannot be
    }
    if (error instanceof QwenchError) console.error(`${error.name}: ${error.message}`);
    else console.error(error);
    return 1;
  }
}

/** The text of `qwench help NAME`: a command with all of its flags, else a flag or field. @throws {UsageError} no such name */
function help(names: readonly string[], width: number): string {
  if (names.length > 1) throw new UsageError(`Give help one name, got ${names.join(" ")}`);
  const [name] = names;
  if (!Object.hasOwn(COMMANDS, name)) return describeName(name, COMMANDS, width);
  const command = COMMANDS[name];
  return commandHelp({ ...command, method: command.method === "any" ? "sft" : command.method, width });
}

function completions(shells: readonly string[]): string {
  const shell = SHELLS.find((known) => shells.length === 1 && known === shells[0]);
  if (!shell) {
    throw new UsageError(`completions needs one of ${SHELLS.join(", ")}, got ${shells.join(" ") || "nothing"}`);
  }
  return completionScript(shell, COMMANDS);
}
