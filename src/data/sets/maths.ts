import { rowError } from "../rows.ts";
import { type DataSet, optionalText, others, type Problem, textOf } from "./data-set.ts";

/** The content of a solution's last \boxed, or null. */
function boxedIn(text: string): string | null {
  const open = text.lastIndexOf("\\boxed{");
  if (open < 0) return null;
  let depth = 0;
  for (let i = open + "\\boxed".length; i < text.length; i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return text.slice(open + "\\boxed{".length, i);
  }
  return null;
}

/** A number's text without thousands separators, and without a fraction of zeros: 27.0 is 27. */
function plainNumber(text: string): string {
  const plain = text.trim();
  if (!/^[+-]?\$?\d[\d,]*(?:\.\d+)?$/.test(plain)) return plain;
  return plain.replace(/[,$]/g, "").replace(/\.0+$/, "");
}

const gsm8k: DataSet = {
  name: "gsm8k",
  about: "8 500 grade-school word problems, answers behind ####; openai/grade-school-math",
  homes: [{ id: "openai/gsm8k", config: "main" }],
  task: "maths",
  read(source) {
    const solution = textOf(source, "answer");
    const [working, answer] = solution.split("####");
    if (answer === undefined) throw rowError(source, 'its answer has no "####"');
    return {
      problem: textOf(source, "question", "problem"),
      answer: plainNumber(answer),
      // <<48/2=24>> are calculator calls, not part of the working
      reasoning: working.replace(/<<[^<>]*>>/g, "").trim(),
      solution,
      id: String(source.number),
      columns: {},
    };
  },
};

const limo: DataSet = {
  name: "limo",
  about: "817 hard problems with long solutions; GAIR/LIMO, arXiv:2502.03387",
  homes: [{ id: "GAIR/LIMO" }],
  task: "maths",
  read(source) {
    const solution = textOf(source, "solution");
    return {
      problem: textOf(source, "question", "problem"),
      answer: plainNumber(textOf(source, "answer")),
      reasoning: solution,
      solution,
      id: optionalText(source, "id") ?? String(source.number),
      columns: others(source, "question", "problem", "answer", "solution", "id"),
    };
  },
};

/** Part names: of the files that Unsloth's evaluation combines, and of the hub's files. */
const AIME_PARTS: readonly [RegExp, string][] = [
  [/2025[-_ ]?II\b/i, "test2025-II"],
  [/2025[-_ ]?I\b/i, "test2025-I"],
  [/2024/, "test2024"],
];

const aime: DataSet = {
  name: "aime",
  about: "60 problems of the AIME of 2024, 2025-I and 2025-II; answers are whole numbers from 0 to 999",
  homes: [
    { id: "HuggingFaceH4/aime_2024", splits: { test: "train" }, part: "test2024" },
    { id: "opencompass/AIME2025", config: "AIME2025-I", splits: { train: "test" }, part: "test2025-I" },
    { id: "opencompass/AIME2025", config: "AIME2025-II", splits: { train: "test" }, part: "test2025-II" },
  ],
  task: "maths",
  whole_folder: true,
  read(source, part) {
    // a combined file has the part in its columns
    const from = optionalText(source, "source_dataset") ?? part;
    return {
      problem: textOf(source, "problem", "question"),
      answer: plainNumber(textOf(source, "answer")),
      solution: optionalText(source, "solution"),
      reasoning: optionalText(source, "solution"),
      id: optionalText(source, "original_id", "id") ?? String(source.number - 1),
      columns: {
        ...others(source, "problem", "question", "answer", "solution", "id", "original_id", "global_id"),
        source_dataset: AIME_PARTS.find(([name]) => name.test(from))?.[1] ?? from,
      },
    };
  },
};

const math500: DataSet = {
  name: "math500",
  about: "500 problems of Hendrycks' MATH by subject and level; HuggingFaceH4/MATH-500, arXiv:2305.20050",
  homes: [{ id: "HuggingFaceH4/MATH-500", splits: { train: "test" } }],
  task: "maths",
  read(source) {
    const solution = textOf(source, "solution");
    return {
      problem: textOf(source, "problem"),
      answer: textOf(source, "answer"),
      reasoning: solution,
      solution,
      id: optionalText(source, "unique_id") ?? String(source.number),
      columns: others(source, "problem", "answer", "solution"),
    };
  },
};

const amc23: DataSet = {
  name: "amc23",
  about: "40 problems of the AMC 12 of 2023; math-ai/amc23",
  homes: [{ id: "math-ai/amc23", splits: { train: "test" } }],
  task: "maths",
  read: (source) => ({
    problem: textOf(source, "problem", "question"),
    answer: plainNumber(textOf(source, "answer")),
    id: optionalText(source, "id") ?? String(source.number),
    columns: others(source, "problem", "question", "answer", "id"),
  }),
};

const minerva: DataSet = {
  name: "minerva",
  about: "272 problems of undergraduate science with boxed answers; math-ai/minervamath, arXiv:2206.14858",
  homes: [{ id: "math-ai/minervamath", splits: { train: "test" } }],
  task: "maths",
  read(source) {
    const solution = optionalText(source, "solution");
    const answer = optionalText(source, "answer") ?? (solution === undefined ? null : boxedIn(solution));
    if (answer === null) throw rowError(source, "has neither an answer nor a \\boxed in its solution");
    return {
      problem: textOf(source, "problem", "question"),
      answer,
      solution,
      reasoning: solution,
      id: optionalText(source, "idx", "id") ?? String(source.number),
      columns: others(source, "problem", "question", "answer", "solution", "idx", "id"),
    };
  },
};

const olympiadbench: DataSet = {
  name: "olympiadbench",
  about:
    "675 open-ended problems of olympiads in English, some with several answers; Hothan/OlympiadBench, arXiv:2402.14008",
  homes: [{ id: "Hothan/OlympiadBench", config: "OE_TO_maths_en_COMP", splits: { test: "train" } }],
  task: "maths",
  read(source): Problem {
    const list = (name: string): string[] | undefined => {
      const value = source.row[name];
      if (value === undefined || value === null) return undefined;
      const items = Array.isArray(value) ? value : [value];
      if (!items.every((item) => typeof item === "string")) throw rowError(source, `"${name}" must be a list of text`);
      return items;
    };
    const answers = list("final_answer") ?? list("answer");
    if (!answers || answers.length === 0) throw rowError(source, "has no final_answer");
    const solution = list("solution")?.[0];
    return {
      problem: [optionalText(source, "context"), textOf(source, "question", "problem")].filter(Boolean).join("\n"),
      answer: answers.join(", "),
      solution,
      reasoning: solution,
      id: optionalText(source, "id") ?? String(source.number),
      columns: others(source, "question", "problem", "context", "final_answer", "answer", "solution", "id"),
    };
  },
};

/** Data sets of mathematics. */
export const MATHS_SETS: readonly DataSet[] = [gsm8k, limo, aime, math500, amc23, minerva, olympiadbench];
