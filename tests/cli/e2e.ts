import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, vi } from "vitest";
import { writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { main } from "../../src/cli/main.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { cpuTime } from "../cpu-time.ts";
import { contents, TINY, tinyRows } from "../train/fixtures.ts";

// Every kind of bad input, through the command line's own entry: a clear error and exit code, quickly; an earlier run
// in the same folder stays byte for byte, although the new run has the order to replace it.

let root: string;

/** A path in the test file's own folder. */
export const at = (...names: string[]) => join(root, ...names);

/** A damaged copy of the valid model. */
export function spoilt(change: (folder: string) => void, from = "sharded"): string {
  const folder = mkdtempSync(at("model-"));
  cpSync(at(from), folder, { recursive: true });
  change(folder);
  return folder;
}

export function rowsFile(lines: unknown[]): string {
  const file = join(mkdtempSync(at("rows-")), "rows.jsonl");
  writeFileSync(file, lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join(""));
  return file;
}

/** Rewrites the header of a safetensors file; offsets are relative to its end, so the data may stay as it is. */
export function editHeader(
  file: string,
  edit: (header: Record<string, { shape: number[]; data_offsets: number[] }>) => void,
): void {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  edit(header);
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(file, Buffer.concat([prefix, text, bytes.subarray(8 + length)]));
}

export function editJson(file: string, values: Record<string, unknown>): void {
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...values }));
}

export const FIRST = "model-00001-of-00003.safetensors";

/** Runs a command line in this process; returns its stderr and stdout as one text, with its processor time. */
export async function run(...argv: string[]): Promise<{ code: number; said: string; seconds: number }> {
  const lines: string[] = [];
  const print = (...parts: unknown[]) =>
    void lines.push(parts.map((p) => (p instanceof Error ? `UNCAUGHT ${p.stack}` : String(p))).join(" "));
  const spies = [
    vi.spyOn(console, "error").mockImplementation(print),
    vi.spyOn(console, "log").mockImplementation(print),
    vi.spyOn(process.stderr, "write").mockImplementation((text) => lines.push(String(text)) > 0),
  ];
  const spent = cpuTime();
  try {
    const code = await main(argv);
    return { code, said: lines.join("\n"), seconds: spent() };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** Processor time limit of a refusal: it trains nothing. */
export const REFUSAL_SECONDS = 20;

const QUICK = ["--max_steps", "2", "--logging_steps", "1", "--lora_r", "4", "--save_steps", "1"];
export const sft = (model: string, rows: string, output: string, ...more: string[]) =>
  run("sft", "--model_name_or_path", model, "--dataset_name", rows, "--output_dir", output, ...QUICK, ...more);

/** Runs what must fail over an earlier run; returns what it said. */
export async function refused(model: string, rows: string, message: RegExp, ...more: string[]): Promise<void> {
  const before = await contents(nodeFolder(at("earlier")));
  const { code, said, seconds } = await sft(model, rows, at("earlier"), "--overwrite_output_dir", "true", ...more);
  expect(said).toMatch(message);
  expect(said).not.toContain("UNCAUGHT");
  expect(said).not.toMatch(/\n\s+at .*\.ts:\d+/); // no stack
  expect(code).toBe(/^RecipeError: /m.test(said) ? 2 : 1);
  expect(seconds).toBeLessThan(REFUSAL_SECONDS);
  expect(await contents(nodeFolder(at("earlier")))).toEqual(before);
}

/** Makes the models, the rows and the earlier run of a test file, and removes them at its end. */
export function useEarlierRun(): void {
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "qwench-input-"));
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9"); // nothing here may ask the real hub
    await writeRandomCheckpoint(nodeFolder(at("model")), TINY, 1);
    await writeRandomCheckpoint(nodeFolder(at("sharded")), TINY, 1, { maxShardBytes: 80_000 });
    writeFileSync(
      at("rows.jsonl"),
      tinyRows(12)
        .map(({ row }) => `${JSON.stringify(row)}\n`)
        .join(""),
    );
    const { code, said } = await sft(at("sharded"), at("rows.jsonl"), at("earlier"));
    expect(said).toMatch(/Done: step 2/);
    expect(code).toBe(0);
    const files = Object.keys(await contents(nodeFolder(at("earlier"))));
    for (const name of [
      "adapter_model.safetensors",
      "metrics.jsonl",
      "report.html",
      "checkpoint-1/trainer_state.json",
      "checkpoint-2/optimizer.safetensors",
    ])
      expect(files).toContain(name);
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    rmSync(root, { recursive: true, force: true });
  });
}
