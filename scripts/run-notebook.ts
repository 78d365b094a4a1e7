// Runs a notebook in Deno's Jupyter kernel and saves its outputs: `tsx scripts/run-notebook.ts demo/notebooks/….ipynb`.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { startDenoKernel } from "./deno-kernel.ts";

const [path] = process.argv.slice(2);
if (!path) throw new Error("Which notebook? Give its path");
const notebook = JSON.parse(readFileSync(path, "utf8"));
const kernel = await startDenoKernel(dirname(path));
let count = 0;
for (const cell of notebook.cells) {
  if (cell.cell_type !== "code") continue;
  const outputs = await kernel.run(cell.source.join(""));
  cell.execution_count = ++count;
  cell.outputs = outputs.map((output) => {
    if (output.output_type === "stream") return { ...output, text: lines(output.text) };
    return output.output_type === "execute_result" ? { ...output, execution_count: count } : output;
  });
  const error = outputs.find((output) => output.output_type === "error");
  if (error) {
    console.error(`Cell ${cell.id}: ${error.ename}: ${error.evalue}`);
    process.exitCode = 1;
    break;
  }
}
kernel.close();
if (!process.exitCode) writeFileSync(path, `${JSON.stringify(notebook, null, 1)}\n`);

/** Text in nbformat: a list of lines with their line ends. */
function lines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}
