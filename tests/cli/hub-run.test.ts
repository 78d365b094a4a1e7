import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { main } from "../../src/cli/main.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { FakeHub, TOKEN } from "../io/hub/fake-hub.ts";

const SPEC = {
  model_type: "qwen2" as const,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 40,
  tie_word_embeddings: true,
  max_position_embeddings: 128,
  initializer_range: 0.1,
};

let hub: FakeHub;
let root: string;

beforeEach(async () => {
  hub = await new FakeHub().start();
  root = mkdtempSync(join(tmpdir(), "hub-run-"));
  vi.stubEnv("HF_ENDPOINT", hub.url);
  vi.stubEnv("HF_HUB_CACHE", join(root, "cache"));
  vi.stubEnv("HF_TOKEN", TOKEN);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await hub.stop();
  rmSync(root, { recursive: true, force: true });
});

/** All bytes of a folder's files, by name. */
async function filesOf(folder: ReturnType<typeof memoryFolder>): Promise<Record<string, Uint8Array>> {
  const files: Record<string, Uint8Array> = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files[name] = await source.read(0, source.size);
  }
  return files;
}

it("trains a gated hub model on a hub data set, the second time from the cache, and never shows the token", async () => {
  const checkpoint = memoryFolder("checkpoint");
  await writeRandomCheckpoint(checkpoint, SPEC, 7);
  hub.repos.push({
    kind: "model",
    id: "owner/tiny",
    refs: { main: "a".repeat(40) },
    files: await filesOf(checkpoint),
    token: TOKEN,
  });
  const rows = Array.from({ length: 20 }, (_, i) =>
    JSON.stringify({ input_ids: [1, 2 + (i % 9), 3, 4, 5], labels: [-100, -100, 3, 4, 5] }),
  );
  hub.repos.push({
    kind: "dataset",
    id: "owner/rows",
    refs: { main: "b".repeat(40) },
    files: { "train.jsonl": new TextEncoder().encode(rows.join("\n")) },
  });
  const printed: string[] = [];
  for (const name of ["log", "error"] as const)
    vi.spyOn(console, name).mockImplementation((...text) => void printed.push(text.join(" ")));
  vi.spyOn(process.stderr, "write").mockImplementation((text) => printed.push(String(text)) > 0);

  const flags = {
    model_name_or_path: "owner/tiny",
    dataset_name: "owner/rows",
    output_dir: join(root, "run"),
    max_steps: 3,
    learning_rate: 0.01,
    lora_r: 4,
    logging_steps: 1,
  };
  const argv = ["sft", ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)])];
  expect(await main(argv), printed.join("\n")).toBe(0);
  const losses = readFileSync(join(root, "run", "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).loss);
  expect(losses).toHaveLength(3);
  expect(losses[2]).toBeLessThan(losses[0]);
  const adapter = await readAdapter(nodeFolder(join(root, "run")));
  expect(adapter.config).toMatchObject({ r: 4, base_model_name_or_path: "owner/tiny" });

  const before = hub.asked.filter(({ path }) => path.includes("model.safetensors")).length;
  expect(before).toBeGreaterThan(0);
  expect(await main([...argv, "--overwrite_output_dir"]), printed.join("\n")).toBe(0);
  expect(hub.asked.filter(({ path }) => path.includes("model.safetensors")).length).toBe(before);
  expect(printed.join("\n")).not.toContain(TOKEN);
  expect(readFileSync(join(root, "run", "report.html"), "utf8")).not.toContain(TOKEN);
});

it("plans a hub model without its weights, and tells their download", async () => {
  const checkpoint = memoryFolder("checkpoint");
  await writeRandomCheckpoint(checkpoint, SPEC, 7);
  const files = await filesOf(checkpoint);
  hub.repos.push({ kind: "model", id: "owner/tiny", refs: { main: "a".repeat(40) }, files });
  const row = JSON.stringify({ input_ids: [1, 2, 3, 4, 5], labels: [-100, -100, 3, 4, 5] });
  const rows = new TextEncoder().encode(`${row}\n`.repeat(20));
  hub.repos.push({ kind: "dataset", id: "owner/rows", refs: { main: "b".repeat(40) }, files: { "train.jsonl": rows } });
  let printed = "";
  for (const name of ["log", "error"] as const)
    vi.spyOn(console, name).mockImplementation((...text) => void (printed += `${text.join(" ")}\n`));
  const named = ["--model_name_or_path", "owner/tiny", "--dataset_name", "owner/rows"];
  const argv = ["plan", ...named, "--max_steps", "4", "--save_steps", "2", "--output_dir", join(root, "run")];
  expect(await main(argv), printed).toBe(0);
  expect(printed).toMatch(
    new RegExp(`^download: ${formatFileSize(files["model.safetensors"].length)} of weights$`, "m"),
  );
  expect(printed).toMatch(/^disk: 2 checkpoints of \d.* and the result, .* together, in .*run/m);
  expect(printed).toMatch(/^time: /m);
  const kept = readdirSync(join(root, "cache"), { recursive: true, encoding: "utf8" });
  expect(kept.filter((name) => name.endsWith(".safetensors"))).toEqual([]);
});

it("gives advice for a gated model without a token", async () => {
  vi.stubEnv("HF_TOKEN", "");
  hub.repos.push({ kind: "model", id: "owner/gated", refs: { main: "a".repeat(40) }, files: {}, token: TOKEN });
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  const flags = [
    "--model_name_or_path",
    "owner/gated",
    "--dataset_name",
    "owner/rows",
    "--output_dir",
    join(root, "run"),
  ];
  expect(await main(["sft", ...flags])).toBe(1);
  expect(error.mock.calls.flat().join("\n")).toMatch(/HF_TOKEN/);
});
