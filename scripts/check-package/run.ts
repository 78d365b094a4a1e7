import { spawn } from "node:child_process";

/** One cell of a table: a check and its result. */
export interface Result {
  table: string;
  row: string;
  column: string;
  ok: boolean;
  /** the cell's text; the reason if the check failed */
  text: string;
}

interface RunOptions {
  cwd: string;
  env?: Record<string, string | undefined>;
  timeout_ms?: number;
}

/** Runs a program to its end. @returns its stdout @throws with the end of its output if it fails */
export function run(program: string, args: readonly string[], options: RunOptions): Promise<string> {
  const { cwd, env = process.env, timeout_ms = 900_000 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, timeout: timeout_ms, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let all = "";
    child.stdout.on("data", (text) => {
      out += text;
      all += text;
    });
    child.stderr.on("data", (text) => (all += text));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(out);
      reject(new Error(`${program} ${args.join(" ")}: ${signal ?? `exit ${code}`}: ${all.trim().slice(-1500)}`));
    });
  });
}

/** Runs the check of a cell and prints the result immediately. */
export async function tryTo(
  cell: Pick<Result, "table" | "row" | "column">,
  work: () => Promise<string>,
): Promise<Result> {
  const began = Date.now();
  const result = await work().then(
    (text) => ({ ...cell, ok: true, text }),
    (error: Error) => ({ ...cell, ok: false, text: error.message }),
  );
  const seconds = Math.round((Date.now() - began) / 1000);
  console.error(
    `${result.ok ? "ok  " : "FAIL"} ${cell.table}: ${cell.row}, ${cell.column}: ${result.text} (${seconds} s)`,
  );
  return result;
}

/** The results as Markdown tables, with the full reasons of failures below. */
export function renderResults(results: readonly Result[]): string {
  const tables = [...new Set(results.map(({ table }) => table))].map((table) => {
    const cells = results.filter((result) => result.table === table);
    const rows = [...new Set(cells.map(({ row }) => row))];
    const columns = [...new Set(cells.map(({ column }) => column))];
    const cell = (row: string, column: string) => {
      const found = cells.find((result) => result.row === row && result.column === column);
      return found ? (found.ok ? found.text : "**FAILED**") : "";
    };
    const line = (parts: readonly string[]) => `| ${parts.join(" | ")} |`;
    return [
      line([table, ...columns]),
      line(["---", ...columns.map(() => "---")]),
      ...rows.map((row) => line([row, ...columns.map((column) => cell(row, column))])),
    ].join("\n");
  });
  const reasons = results
    .filter(({ ok }) => !ok)
    .map(({ table, row, column, text }) => `${table}, ${row}, ${column}:\n${text}`);
  return [...tables, ...reasons].join("\n\n");
}
