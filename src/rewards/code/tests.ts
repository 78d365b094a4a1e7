import { DataError } from "../../errors.ts";
import { isObject } from "../../text/json.ts";
import { parsePythonJson, pythonJson } from "../../text/python-json.ts";
import { show } from "../../text/show.ts";
import { LIVECODEBENCH_PRELUDE } from "./harness.ts";

/** One test of a program; each test starts from a clean state. */
export type CodeTest =
  /** the program reads `input` and prints `output` */
  | { kind: "stdin"; input: string; output: string }
  /** a function, or a method of the class Solution; arguments as a JSON array, acceptable results as JSON */
  | { kind: "call"; name: string; args: string; expected: readonly string[] }
  /**
   * code that raises AssertionError if the program is wrong. It runs out of the program's reach, after `given`, the
   * task's code; `entry` is the name that it takes from the program, if known
   */
  | { kind: "assert"; code: string; given?: string; entry?: string };

/** A program and its tests. */
export interface CodeTask {
  code: string;
  tests: readonly CodeTest[];
  /** runs before the program, such as LiveCodeBench's imports; default nothing */
  prelude?: string;
}

type Row = Record<string, unknown>;

/**
 * The tests in a row's columns, in the format of
 * - open-r1 (`verification_info` with `test_cases`)
 * - LiveCodeBench (`public_test_cases`, `private_test_cases`, with `metadata` for a function's name)
 * - MBPP (`test_list`, `test_setup_code`), one test per entry
 * - HumanEval (`test`, `entry_point`), as one test
 *
 * @throws {DataError} a row with none of them, or with invalid tests
 */
export function testsOf(row: Row): Omit<CodeTask, "code"> {
  if (present(row.verification_info)) {
    const { test_cases } = object(row.verification_info, "verification_info");
    return {
      tests: list(test_cases, "verification_info.test_cases").map((test) => openR1Test(object(test, "a test case"))),
    };
  }
  if (present(row.public_test_cases) || present(row.private_test_cases)) {
    const parts = ["public_test_cases", "private_test_cases"].filter((name) => present(row[name]));
    const { func_name } = present(row.metadata) ? object(row.metadata, "metadata") : {};
    const tests = parts.flatMap((name) =>
      listOrEmpty(row[name], name).map((test) => liveCodeBenchTest(object(test, name), func_name, name)),
    );
    return { tests: filled(tests, parts.join(" and ")), prelude: LIVECODEBENCH_PRELUDE };
  }
  if (present(row.test_list)) {
    const setup = present(row.test_setup_code) ? `${text(row.test_setup_code, "test_setup_code")}\n` : "";
    const tests = list(row.test_list, "test_list").map((test) => text(test, "test_list"));
    return { tests: tests.map((test) => ({ kind: "assert", code: setup + test })) };
  }
  if (present(row.test) && present(row.entry_point)) {
    const entry = text(row.entry_point, "entry_point");
    const code = `${text(row.test, "test")}\n\ncheck(${entry})\n`;
    // other definitions of a prompt belong to the task: a program must not replace them
    const given = typeof row.prompt === "string" ? row.prompt : "";
    return { tests: [{ kind: "assert", code, given, entry }] };
  }
  throw new DataError(
    `a code reward needs tests: verification_info, public_test_cases, test_list, or test and entry_point; the row's columns: ${columnsOf(row)}`,
  );
}

const columnsOf = ({ prompt, ...others }: Row) => Object.keys(others).join(", ") || "none";

function openR1Test(test: Row): CodeTest {
  const { fn_name, input, output } = test;
  if (!present(fn_name)) {
    return { kind: "stdin", input: joined(input, "input"), output: joined(output, "output") };
  }
  if (!Array.isArray(input)) throw new DataError(`the input of a call must be a list of arguments, not ${show(input)}`);
  // as in APPS, whose results may be in a list of one
  const expected = [output, ...(Array.isArray(output) && output.length === 1 ? output : [])];
  return {
    kind: "call",
    name: text(fn_name, "fn_name"),
    args: pythonJson(input),
    expected: expected.map((value) => pythonJson(value)),
  };
}

function liveCodeBenchTest({ input, output, testtype }: Row, name: unknown, column: string): CodeTest {
  const [given, wanted] = [text(input, `${column}.input`), text(output, `${column}.output`)];
  if (testtype !== "functional") return { kind: "stdin", input: given, output: wanted };
  // one argument per line, each JSON
  const args = `[${given.split("\n").join(",")}]`;
  return { kind: "call", name: text(name, "metadata.func_name"), args, expected: [wanted] };
}

const present = (value: unknown) => value !== undefined && value !== null && value !== "";

function text(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  throw new DataError(`${name} must be text, not ${show(value)}`);
}

/** Text, or its lines. */
function joined(value: unknown, name: string): string {
  return Array.isArray(value) ? value.map((line) => text(line, name)).join("\n") : text(value, name);
}

function object(value: unknown, name: string): Row {
  const parsed = typeof value === "string" ? json(value, name) : value;
  if (isObject(parsed)) return parsed as Row;
  throw new DataError(`${name} must be an object, not ${show(parsed)}`);
}

function listOrEmpty(value: unknown, name: string): unknown[] {
  const parsed = typeof value === "string" ? json(value, name) : value;
  if (!Array.isArray(parsed)) throw new DataError(`${name} must be a list, not ${show(parsed)}`);
  return parsed;
}

const list = (value: unknown, name: string): unknown[] => filled(listOrEmpty(value, name), name);

function filled<T>(tests: T[], name: string): T[] {
  if (tests.length === 0) throw new DataError(`${name} contains no tests`);
  return tests;
}

function json(value: string, name: string): unknown {
  try {
    return parsePythonJson(value); // numbers keep their digits
  } catch (error) {
    throw new DataError(`${name} is not JSON: ${(error as Error).message}`);
  }
}
