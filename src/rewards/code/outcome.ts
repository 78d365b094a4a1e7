import { parseBoundedJson } from "../../text/bounded-json.ts";
import { formatBytes } from "../../text/bytes.ts";
import { isObject } from "../../text/json.ts";
import { equalsJson, outputFault, type ToldValue } from "./compare.ts";
import type { SandboxReport } from "./sandbox-types.ts";
import type { CodeTest } from "./tests.ts";

export type CodeOutcome = "passed" | "wrong_answer" | "runtime_error" | "syntax_error" | "timeout" | "out_of_memory";

export interface TestResult {
  outcome: CodeOutcome;
  /** the problem, in one line; null if there was none */
  message: string | null;
  /** duration of the test, ms */
  ms: number;
}

/** The harness's report of one run. */
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
  /** of a test: the value of its message */
  secret: string | null;
}

/**
 * The outcome of a run of `test`. The report may contain anything, because a program may have written it: an invalid
 * report is a `runtime_error` of this run.
 *
 * @param secret a test's verdict must contain it; null if there is no test
 */
export function resultOf(
  test: CodeTest,
  report: SandboxReport,
  limits: { output_bytes: number },
  secret: string | null = null,
): TestResult {
  const ms = typeof report.ms === "number" && report.ms >= 0 ? report.ms : 0;
  const result = (outcome: CodeOutcome, message: string | null): TestResult => ({ outcome, message, ms });
  const broken = () => {
    if (report.starved === true) return result("out_of_memory", "it needed more memory than allowed");
    if (report.overflow === true) return result("runtime_error", tooMuch(limits));
    return result("runtime_error", typeof report.crash === "string" ? report.crash : "it damaged the test harness");
  };
  const answer = read(report.answer);
  if (!answer) return broken();
  const fault = faultOf(answer, test, report, limits);
  if (fault) return result(...fault);
  if (test.kind === "assert") {
    const verdict = read(report.verdict);
    if (!verdict || secret === null || verdict.secret !== secret) return broken();
    const found = faultOf(verdict, test, report, limits);
    if (found) return result(...found);
    return verdict.stage === "done" ? result("passed", null) : broken();
  }
  if (answer.stage !== "done" && answer.error === null) return broken();
  if (test.kind === "stdin") {
    if (typeof report.stdout !== "string") return broken();
    const wrong = outputFault(report.stdout, test.output);
    return wrong === null ? result("passed", null) : result("wrong_answer", wrong);
  }
  if (test.expected.some((json) => equalsJson(answer.value, json))) return result("passed", null);
  return result("wrong_answer", `${test.name} did not return ${test.expected[0].slice(0, 80)}`);
}

/** The reason for a failed run, as far as the harness knows. */
function faultOf(
  { error, stage }: Answer,
  test: CodeTest,
  report: SandboxReport,
  limits: { output_bytes: number },
): [CodeOutcome, string] | null {
  if (!error) return null;
  if (error.exit !== null) {
    if (error.exit === 0 && test.kind === "stdin") return null;
    return [
      "runtime_error",
      `it ended with exit code ${error.exit}${test.kind === "stdin" ? "" : " before its test did"}`,
    ];
  }
  const where = error.line === null ? "" : `line ${error.line}: `;
  const said = `${where}${error.type}${error.message ? `: ${error.message}` : ""}`;
  if (stage === "compile") return ["syntax_error", said];
  if (error.memory) return ["out_of_memory", said];
  if (report.overflow === true) return ["runtime_error", tooMuch(limits)];
  return [error.assertion ? "wrong_answer" : "runtime_error", said];
}

const tooMuch = ({ output_bytes }: { output_bytes: number }) =>
  `it wrote more than the limit of ${formatBytes(output_bytes)}`;

const STAGES: readonly unknown[] = ["compile", "program", "test", "done"];

/** A valid answer of the harness; null for anything else. */
function read(text: unknown): Answer | null {
  if (typeof text !== "string") return null;
  try {
    const told = parseBoundedJson(text);
    if (!isObject(told) || !STAGES.includes(told.stage)) return null;
    const { error, value = null, secret = null } = told;
    if (!isValue(value, 0) || !(secret === null || typeof secret === "string")) return null;
    if (error === null) return { stage: told.stage as Answer["stage"], error, value, secret };
    if (!isObject(error)) return null;
    const { type, message, line, memory, assertion, exit } = error;
    if (typeof type !== "string" || typeof message !== "string") return null;
    if (typeof memory !== "boolean" || typeof assertion !== "boolean") return null;
    if (!isPlace(line) || !isPlace(exit)) return null;
    const short = { type: type.slice(0, 200), message: message.slice(0, 500) };
    return {
      stage: told.stage as Answer["stage"],
      error: { ...short, line, memory, assertion, exit },
      value,
      secret,
    };
  } catch {
    return null; // the program wrote into the channel
  }
}

const isPlace = (value: unknown): value is number | null => value === null || Number.isSafeInteger(value);

/** Deepest nesting of values; deeper values equal nothing. */
const DEPTH = 1000;
const INTEGER = /^-?0x[0-9a-f]+$/;
const FLOAT = /^(?:-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|-?inf|nan)$/;

/** Whether this is a value in the harness's encoding. */
function isValue(value: unknown, depth: number): value is ToldValue {
  if (value === null || typeof value === "boolean" || typeof value === "string") return true;
  if (typeof value !== "object" || depth > DEPTH) return typeof value === "object";
  if (Array.isArray(value)) return value.every((item) => isValue(item, depth + 1));
  const [[tag, inner], ...more] = Object.entries(value);
  if (more.length > 0) return false;
  switch (tag) {
    case "int":
      return typeof inner === "string" && INTEGER.test(inner);
    case "float":
      return typeof inner === "string" && FLOAT.test(inner);
    case "other":
      return typeof inner === "string";
    case "dict":
      return (
        Array.isArray(inner) &&
        inner.every(
          (entry) =>
            Array.isArray(entry) && entry.length === 2 && typeof entry[0] === "string" && isValue(entry[1], depth + 1),
        )
      );
    default:
      return false;
  }
}

/** The outcome of a program from its tests: passed if all passed, else the outcome of the first failed test. */
export function outcomeOf(results: readonly TestResult[]): CodeOutcome {
  return results.find(({ outcome }) => outcome !== "passed")?.outcome ?? "passed";
}
