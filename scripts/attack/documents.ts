// Gives hostile documents to the reader of `qwench data`, each in a process of its own: each must end in a Qwench error or in clean
// text, within 10 s of processor time and 500 MB, with nothing executed and nothing written. `npx tsx scripts/attack/documents.ts`
// [NAME…] prints a table and ends with 1 if one fails.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DocumentThread } from "../../src/cli/sources/document-thread.ts";
import { joinPages } from "../../src/data/documents/document.ts";
import { DataError } from "../../src/errors.ts";
import { renderTable } from "../../src/text/tables.ts";
import { CASES } from "./document-cases.ts";

const MOST_SECONDS = 10;
const MOST_MB = 500;
/** What came of a document, with the processor time and the peak memory of its process. */
interface Outcome {
  kind: "text" | "error" | "crash";
  said: string;
  seconds: number;
  mb: number;
}

/** In the document's own process. */
async function readOne(source: string, path: string): Promise<Outcome> {
  const thread = new DocumentThread();
  const data = new Uint8Array(readFileSync(path));
  let [kind, said]: [Outcome["kind"], string] = ["crash", ""];
  const before = process.cpuUsage();
  try {
    const read = await thread.read({ bytes: data, source, type: null, cmaps: null, article: source.endsWith(".html") });
    const { text } = joinPages(read.pages);
    [kind, said] = [/root:.*:0:0/.test(text) ? "crash" : "text", `${text.length} characters`];
  } catch (error) {
    [kind, said] = [error instanceof DataError ? "error" : "crash", (error as Error).message];
  }
  const { user, system } = process.cpuUsage(before);
  await thread.close();
  return { kind, said, seconds: (user + system) / 1e6, mb: peakMb() };
}

/** Peak memory of this process. getrusage would count the memory of the process that started it. */
function peakMb(): number {
  return Number(/VmHWM:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1000;
}

function attack(folder: string, only: readonly string[]): number {
  const rows: (string | number)[][] = [];
  let failed = 0;
  for (const [source, make, wanted] of CASES.filter(([name]) => only.length === 0 || only.includes(name))) {
    const path = join(folder, source);
    writeFileSync(path, make());
    const self = fileURLToPath(import.meta.url);
    const { stdout } = spawnSync(process.execPath, ["--import", "tsx", self, "--one", source, path], {
      encoding: "utf8",
    });
    rmSync(path);
    const none: Outcome = { kind: "crash", said: "its process ended", seconds: 0, mb: 0 };
    const { kind, said, seconds, mb }: Outcome = stdout.startsWith("{") ? JSON.parse(stdout) : none;
    const good = kind !== "crash" && (wanted === "either" || kind === wanted) && seconds < MOST_SECONDS && mb < MOST_MB;
    if (!good) failed++;
    const verdict = good ? "ok" : `FAILED, wanted ${wanted}`;
    rows.push([source, seconds.toFixed(1), mb.toFixed(0), kind, verdict, said.slice(0, 90)]);
  }
  const columns = ["document", "CPU s", "peak MB", "came", "verdict", "what"].map((heading, i) => ({
    heading,
    align: i === 1 || i === 2 ? ("right" as const) : ("left" as const),
  }));
  console.log(renderTable(columns, rows, 220));
  if (existsSync("/tmp/qwench-evil")) failed++;
  return failed;
}

const [first, source, path] = process.argv.slice(2);
if (first === "--one") process.stdout.write(JSON.stringify(await readOne(source, path)));
else {
  const folder = mkdtempSync(join(tmpdir(), "qwench-attack-"));
  const failed = attack(folder, process.argv.slice(2));
  rmSync(folder, { recursive: true });
  process.exit(failed > 0 ? 1 : 0);
}
