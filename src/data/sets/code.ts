import { rowError } from "../rows.ts";
import { type DataSet, optionalText, others, textOf } from "./data-set.ts";
import { decodeTests } from "./livecodebench-tests.ts";

const FENCED = /```(?:python|py)?[^\n]*\n([\s\S]*?)```/g;

/** The reasoning and the last fenced program of an answer; an unclosed block ends with the text. */
function parts(output: string): { reasoning: string | undefined; code: string | undefined } {
  const end = output.indexOf("</think>");
  const thought = end < 0 ? undefined : output.slice(0, end).replace(/^\s*<think>\s*/, "");
  const said = end < 0 ? output : output.slice(end + "</think>".length);
  const code = [...said.matchAll(FENCED)].at(-1)?.[1];
  return { reasoning: thought?.trim(), code };
}

const opencodereasoning: DataSet = {
  name: "opencodereasoning",
  about: "568 000 solutions in Python with reasoning, of 28 000 problems; nvidia/OpenCodeReasoning, arXiv:2504.01943",
  homes: [{ id: "nvidia/OpenCodeReasoning", config: "split_0", splits: { train: "split_0" } }],
  task: "code",
  read(source) {
    const problem = textOf(source, "input");
    // split_1 has the question's index in another data set instead of the question
    if (problem.trim() === "-" || problem.trim() === "") return null;
    const solution = textOf(source, "output");
    const found = parts(solution);
    const code = optionalText(source, "solution") ?? found.code;
    if (code === undefined) return null;
    return {
      problem,
      reasoning: found.reasoning,
      solution,
      code,
      id: optionalText(source, "id") ?? String(source.number),
      columns: others(source, "input", "output", "solution", "id", "license"),
    };
  },
};

const humaneval: DataSet = {
  name: "humaneval",
  about: "164 functions to complete, with tests; openai/openai_humaneval, arXiv:2107.03374",
  homes: [{ id: "openai/openai_humaneval", splits: { train: "test" } }],
  task: "code",
  template:
    "Complete this Python function. Answer with the whole program, its imports and the function, in a fenced code block that begins with ```python.\n\n```python\n{problem}\n```",
  read(source) {
    const problem = textOf(source, "prompt");
    return {
      problem: problem.trimEnd(),
      code: `${problem}${textOf(source, "canonical_solution")}`,
      id: textOf(source, "task_id"),
      columns: { test: textOf(source, "test"), entry_point: textOf(source, "entry_point") },
    };
  },
};

const mbpp: DataSet = {
  name: "mbpp",
  about: "974 short programs with three tests each; google-research-datasets/mbpp, arXiv:2108.07732",
  homes: [{ id: "google-research-datasets/mbpp", config: "full" }],
  task: "code",
  template: "{problem}\n\nAnswer with one Python program in a fenced code block that begins with ```python.",
  read(source) {
    const tests = source.row.test_list;
    if (!Array.isArray(tests) || tests.length === 0 || !tests.every((test) => typeof test === "string")) {
      throw rowError(source, '"test_list" must be a list of tests');
    }
    return {
      problem: `${textOf(source, "text", "prompt").trim()}\nIt must pass these tests:\n\n${tests.join("\n")}`,
      code: textOf(source, "code").replaceAll("\r\n", "\n"),
      id: textOf(source, "task_id"),
      columns: { test_list: tests, test_setup_code: optionalText(source, "test_setup_code", "test_imports") ?? "" },
    };
  },
};

const livecodebench: DataSet = {
  name: "livecodebench",
  about: "Problems of contests by date and difficulty; livecodebench/code_generation_lite, arXiv:2403.07974",
  homes: [{ id: "livecodebench/code_generation_lite", splits: { train: "test" } }],
  task: "code",
  async read(source) {
    const starter = optionalText(source, "starter_code") ?? "";
    const task =
      starter.trim() === ""
        ? "Write a Python program that reads the input from stdin and prints the answer to stdout. Put it into a fenced code block that begins with ```python."
        : `Complete this Python code. Put the whole of it into a fenced code block that begins with \`\`\`python.\n\n\`\`\`python\n${starter.trimEnd()}\n\`\`\``;
    const hidden = optionalText(source, "private_test_cases") ?? "";
    return {
      problem: `${textOf(source, "question_content").trim()}\n\n${task}`,
      id: textOf(source, "question_id"),
      columns: {
        ...others(source, "question_content", "private_test_cases", "question_id"),
        private_test_cases: await decodeTests(hidden).catch((error) => {
          throw rowError(source, `"private_test_cases" cannot be read: ${(error as Error).message}`);
        }),
      },
    };
  },
};

/** Data sets of programs. */
export const CODE_SETS: readonly DataSet[] = [opencodereasoning, humaneval, mbpp, livecodebench];
