import { parseBoundedJson } from "../../text/bounded-json.ts";
import { equalsJson, outputFault, type ToldValue } from "./compare.ts";
import type { SandboxReport } from "./sandbox-types.ts";
import type { CodeTest } from "./tests.ts";

export type CodeOutcome = "passed" | "wrong_answer" | "runtime_error" | "syntax_error" | "timeout" | "out_of_memory";

export interface TestResult {
  outcome: CodeOutcome;
  /** what was wrong, in a line; null where nothing was */
  message: string | null;
  /** how long the test ran, ms */
  ms: number;
}

/** What the harness tells of one run. */
interface Answer {
  stage: "compile" | "program" | "test" | "done";
  error: {
    type: string;
    message: string;
    line: number | null;
    memory: boolean;
    assertion: boolean;
    exit: number | null;
  } | null;
  value: ToldValue;
}

/** What a run of `test` amounts to. */
export function resultOf(test: CodeTest, report: SandboxReport, limits: { output_bytes: number }): TestResult {
  const result = (outcome: CodeOutcome, message: string | null) => ({ outcome, message, ms: report.ms });
  const answer = report.answer === null ? null : read(report.answer);
  if (!answer) {
    if (report.starved) return result("out_of_memory", "it asked for more memory than it may have");
    return result("runtime_error", report.crash ?? "it broke what reports on it");
  }
  const { error, stage } = answer;
  if (error && error.exit === null) {
    const where = error.line === null ? "" : `line ${error.line}: `;
    const said = `${where}${error.type}${error.message ? `: ${error.message}` : ""}`;
    if (stage === "compile") return result("syntax_error", said);
    if (error.memory) return result("out_of_memory", said);
    if (report.overflow) return result("runtime_error", `it wrote more than ${megabytes(limits.output_bytes)} MB`);
    return result(error.assertion ? "wrong_answer" : "runtime_error", said);
  }
  if (error && (error.exit !== 0 || test.kind !== "stdin")) {
    return result(
      "runtime_error",
      `it ended with exit code ${error.exit}${test.kind === "stdin" ? "" : " before its test did"}`,
    );
  }
  if (test.kind === "assert") return result("passed", null);
  if (test.kind === "stdin") {
    const fault = outputFault(report.stdout, test.output);
    return fault === null ? result("passed", null) : result("wrong_answer", fault);
  }
  if (test.expected.some((json) => equalsJson(answer.value, json))) return result("passed", null);
  return result("wrong_answer", `${test.name} did not return ${test.expected[0].slice(0, 80)}`);
}

const megabytes = (bytes: number) => Math.round(bytes / 2 ** 20);

function read(text: string): Answer | null {
  try {
    const answer = parseBoundedJson(text) as ReturnType<typeof JSON.parse>;
    return typeof answer?.stage === "string" ? answer : null;
  } catch {
    return null; // the program wrote into the channel
  }
}

/** The class of a program by its tests: passed where all are, else that of the first that is not. */
export function outcomeOf(results: readonly TestResult[]): CodeOutcome {
  return results.find(({ outcome }) => outcome !== "passed")?.outcome ?? "passed";
}
