import { AbortError, QwenchError } from "../errors.ts";
import { type Method, methods, nearestName } from "../recipe/recipe.ts";
import { type CliFlag, type ParsedArgs, parseArgs, UsageError } from "./args.ts";
import { CHAT_FLAGS, runChat } from "./commands/chat.ts";
import { runDoctor, runInfo, runPlan } from "./commands/commands.ts";
import { COMPARE_FLAGS, runCompare } from "./commands/compare.ts";
import { EVAL_FLAGS, runEval } from "./commands/eval.ts";
import { EXPORT_FLAGS, runExport } from "./commands/export.ts";
import { GENERATE_FLAGS, runGenerate } from "./commands/generate.ts";
import { GRADE_FLAGS, runGrade } from "./commands/grade.ts";
import { PUSH_FLAGS, runPush } from "./commands/push.ts";
import { RECIPE_COMMAND_FLAGS, runRecipe } from "./commands/recipe.ts";
import { runTrain } from "./commands/train.ts";
import { methodOf, RECIPE_FLAG } from "./runs/prepare.ts";
import { DRY_RUN_FLAG } from "./sources/dry-run.ts";
import { commandHelp } from "./terminal/help.ts";
import { EXIT_INTERRUPTED } from "./terminal/interrupt.ts";
import { packageVersion } from "./version.ts";

interface Command {
  usage: string;
  summary: string;
  /** the method whose recipe fields are flags; `any`: the method follows from the command line */
  method?: Method | "any";
  flags?: CliFlag[];
  run(args: ParsedArgs, method?: Method): Promise<number>;
}

export const COMMANDS: Readonly<Record<string, Command>> = {
  sft: {
    usage: "qwench sft [recipe.yaml | --recipe NAME] [--field value]…",
    summary:
      "Fine-tunes a Qwen checkpoint on rows of text, chat or tokens. Flags override the recipe's file. Without a model and rows, it trains the embedded model.",
    method: "sft",
    flags: [RECIPE_FLAG, DRY_RUN_FLAG],
    run: runTrain,
  },
  grpo: {
    usage: "qwench grpo [recipe.yaml | --recipe NAME] [--field value]…",
    summary:
      "Trains a Qwen checkpoint by rewards: it samples completions of prompts, scores them and reinforces the better ones. Without a model and rows, it continues the embedded model's SFT.",
    method: "grpo",
    flags: [RECIPE_FLAG, DRY_RUN_FLAG],
    run: runTrain,
  },
  dpo: {
    usage: "qwench dpo [recipe.yaml | --recipe NAME] [--field value]…",
    summary:
      "Trains a Qwen checkpoint on preferences: rows with a prompt, a chosen and a rejected completion. Without a model and rows, the embedded model learns to prefer worked answers.",
    method: "dpo",
    flags: [RECIPE_FLAG, DRY_RUN_FLAG],
    run: runTrain,
  },
  generate: {
    usage: "qwench generate [--model PATH] PROMPT, or --file ROWS [--output FILE]",
    summary:
      "Answers a prompt and prints the answer while it is generated, or answers every row of a file. Ctrl-C keeps finished rows.",
    flags: GENERATE_FLAGS,
    run: runGenerate,
  },
  chat: {
    usage: "qwench chat [--model PATH] [--adapter PATH]",
    summary: "Starts a conversation in the terminal, or with the lines of a pipe. /help lists its commands.",
    flags: CHAT_FLAGS,
    run: runChat,
  },
  grade: {
    usage: "qwench grade FILE.jsonl [--json]",
    summary:
      "Grades rows with gold, pred and optionally expected: is the answer in pred equal to gold? Prints the agreement and every disagreement.",
    flags: GRADE_FLAGS,
    run: runGrade,
  },
  eval: {
    usage: "qwench eval [NAME|ROWS|ocr ROWS] [--model PATH] [--adapter PATH] [--n 8] [--k 1,5]",
    summary:
      "Evaluates a model: it samples n responses to each problem of a data set, grades them, and reports pass@k and the majority vote. Ctrl-C keeps finished problems, and the same command continues. Without a model and a data set, it evaluates the embedded model on its held-out problems. With ocr, it measures word and character errors of the texts that a model reads in images.",
    flags: EVAL_FLAGS,
    run: runEval,
  },
  compare: {
    usage: "qwench compare A.json B.json … [--base NAME] [--output DIR]",
    summary:
      "Compares evaluations of models or checkpoints: scores, improvement over a base, problems lost and won, the best checkpoint. It reads what qwench eval writes, and Unsloth's evaluations.",
    flags: COMPARE_FLAGS,
    run: runCompare,
  },
  export: {
    usage: `qwench export --adapter PATH --format lora|merged_16bit|merged_4bit|gguf --output DIR`,
    summary:
      "Writes an adapter, or its base with the adapter merged, for transformers, vLLM, llama.cpp or Ollama, and checks that the result behaves like the adapter.",
    flags: EXPORT_FLAGS,
    run: runExport,
  },
  push: {
    usage: "qwench push --adapter DIR --repo USER/NAME [--private]",
    summary:
      "Puts an adapter or an exported model on the Hugging Face hub, with a model card that shows its base, recipe, curves and evaluations. HF_TOKEN holds the token.",
    flags: PUSH_FLAGS,
    run: runPush,
  },
  plan: {
    usage: "qwench plan [recipe.yaml | --recipe NAME] [--method sft|grpo|dpo] [--field value]…",
    summary: "Forecasts the memory of a run from its recipe, allocates none, and says whether it fits.",
    method: "any",
    flags: [
      RECIPE_FLAG,
      {
        name: "method",
        type: "string",
        value: methods.join("|"),
        help: "The method of the recipe. Default: sft if it has every field in the recipe, else grpo or dpo, whichever has more of the fields.",
      },
    ],
    run: runPlan,
  },
  recipe: {
    usage: "qwench recipe [NAME | recipe.yaml] [--for trl]",
    summary: "Lists the published recipes included in Qwench, or prints a recipe as YAML, for Qwench or for TRL.",
    flags: [...RECIPE_COMMAND_FLAGS],
    run: runRecipe,
  },
  info: {
    usage: "qwench info [--json]",
    summary: "Shows the adapter, its features and limits, and which of them Qwench uses.",
    flags: [{ name: "json", type: "boolean", help: "Print JSON." }],
    run: runInfo,
  },
  doctor: {
    usage: "qwench doctor",
    summary: "Checks every kernel against its float64 reference on this adapter.",
    run: runDoctor,
  },
};

const OVERVIEW = `Usage: qwench COMMAND

Trains small Qwen models on WebGPU.

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`)
  .join("\n")}

qwench COMMAND --help describes a command; qwench --version prints the version. Exit codes: 0 done, 1 failure, 2 wrong usage, 130 interrupted.
`;

/** Runs one command line. @returns the exit code */
export async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(OVERVIEW);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "-v" || name === "version") {
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : null;
  try {
    if (!command) {
      const near = nearestName(name, Object.keys(COMMANDS));
      throw new UsageError(`There is no command ${name}${near ? `: did you mean ${near}?` : ""}`);
    }
    const method = command.method === "any" ? await methodOf(rest) : command.method;
    const args = parseArgs(rest, { method, flags: command.flags });
    if (args.flags.help) {
      process.stdout.write(commandHelp({ ...command, method, width: Math.min(120, process.stdout.columns ?? 100) }));
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
    if (error instanceof QwenchError) console.error(`${error.name}: ${error.message}`);
    else console.error(error);
    return 1;
  }
}
