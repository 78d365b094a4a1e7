import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zipSync } from "fflate";
import { expand, type Recording } from "../../demo/recorded/recording.ts";
import { Run } from "../../demo/run.ts";
import { copyTokenizer, SPECS, writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { embeddedRows } from "../../src/data/sets/embedded.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { FakeHub, TOKEN } from "../io/hub/fake-hub.ts";
import { builtPage } from "./page-site.ts";
import type { SiteFiles } from "./site.ts";

// What a walk through the page meets: a hub, an earlier run, and a folder of the command line.

const MAIN_MODEL = "Qwen/Qwen2.5-0.5B-Instruct";
const GATED_MODEL = "owner/gated";

/** A hub with a random model of 0.5B's size under its name, GSM8K with generated rows, and a gated model. */
export async function openHub(folder: string): Promise<FakeHub> {
  const place = join(folder, "model");
  mkdirSync(place, { recursive: true });
  await copyTokenizer(nodeFolder(place));
  await writeRandomCheckpoint(nodeFolder(place), SPECS["qwen2.5-0.5b"], 1);
  const names = await nodeFolder(place).list();
  const files = Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(join(place, name)))]));
  const rows = (split: "train" | "test", count: number) => {
    const lines = embeddedRows(split, count).map(({ prompt, answer }) =>
      JSON.stringify({ question: String(prompt.at(-1)!.content), answer }),
    );
    return new TextEncoder().encode(`${lines.join("\n")}\n`);
  };
  const data = { "main/train.jsonl": rows("train", 200), "main/test.jsonl": rows("test", 150) };
  const refs = { main: "e".repeat(40) };
  const hub = new FakeHub();
  hub.repos.push(
    { kind: "model", id: MAIN_MODEL, refs, files },
    { kind: "model", id: GATED_MODEL, refs, files: { "config.json": files["config.json"] }, token: TOKEN },
    { kind: "dataset", id: "openai/gsm8k", refs, files: data },
    { kind: "dataset", id: "owner/gsm-hard", refs, files: data },
  );
  return hub.start();
}

/** The page as it is built, whose trainer takes the hub of the address. */
export function walkedPage(): Promise<SiteFiles> {
  const local = fileURLToPath(new URL("./pages/local-hub.ts", import.meta.url));
  return builtPage([
    {
      name: "local-hub",
      enforce: "pre",
      resolveId: (source, importer) =>
        source.endsWith("src/client.ts") && importer?.endsWith("demo/main.ts") ? local : null,
    },
  ]);
}

/** The recorded run of the page as a file that the page imports. */
export function recordedRun(folder: string): string {
  const file = new URL("../../demo/recorded/run.json", import.meta.url);
  const recording = expand(JSON.parse(readFileSync(file, "utf8")) as Recording);
  const run = new Run(recording.record);
  for (const [, event] of recording.events) run.take(event);
  const record = { ...run.record, name: "Recorded", status: "finished", seconds: recording.seconds, done: 2 };
  const path = join(folder, "recorded-run.zip");
  writeFileSync(path, zipSync({ "run.json": Buffer.from(JSON.stringify({ version: 1, run: record })) }));
  return path;
}

/** A folder as the command line leaves it, with the logs of a page's run. @param metrics text of its metrics.jsonl */
export function cliFolder(parent: string, recipe: string, metrics: string): string {
  const folder = mkdtempSync(join(parent, "cli-"));
  const about = { version: 1, method: "grpo", model: "tiny", data: "gsm8k", recipe, max_steps: 4, device: "Dawn" };
  const times = { began: "2026-01-02T03:04:05.000Z", ended: "2026-01-02T03:14:05.000Z" };
  writeFileSync(join(folder, "run.json"), JSON.stringify({ ...about, ...times, status: "finished", problem: null }));
  writeFileSync(join(folder, "metrics.jsonl"), metrics);
  return folder;
}

export const temporary = () => mkdtempSync(join(tmpdir(), "qwench-walk-"));
