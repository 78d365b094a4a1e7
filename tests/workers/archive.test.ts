import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import type { Job } from "../../src/client/types.ts";
import { FormatError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { archiveEntries, readArchive } from "../../workers/session/run-archive.ts";
import { newRun, type StoredRun } from "../../workers/session/runs.ts";
import { zipped } from "../../workers/session/zip.ts";

// Runs as files: what comes back, and what damaged and hostile archives do.

const job: Job = {
  name: "Sums",
  model: { kind: "embedded" },
  phases: [
    { method: "sft", data: { kind: "embedded", rows: "sft" }, recipe: { lora_r: 4 } },
    { method: "grpo", data: { kind: "embedded", rows: "prompts" }, recipe: {} },
  ],
  evaluate: { data: { kind: "embedded", rows: "prompts" }, problems: 2 },
};

function run(change: Partial<StoredRun> = {}): StoredRun {
  const made = newRun("old-id", job, { model: "the embedded model", data: "problems", recipes: ["a: 1\n", "b: 2\n"] });
  made.phases[0].global_step = 5;
  made.logs[0].push({ step: 1, loss: 2.5 });
  made.evaluations.push({
    stage: "base",
    phase: 0,
    accuracy: 0.5,
    problems: [{ question: "1+1?", gold: "2", completion: "2", answer: "2", correct: true }],
  });
  return { ...made, status: "paused", ...change };
}

const text = (value: string) => new TextEncoder().encode(value);

/** @param phase whose adapter is kept */
async function packed(record: StoredRun, phase = 0): Promise<Uint8Array> {
  const folders = [memoryFolder("one"), memoryFolder("two")];
  await folders[phase].write("adapter_config.json", "{}");
  await folders[phase].write("adapter_model.safetensors", "weights");
  const parts: Uint8Array[] = [];
  for await (const piece of zipped(archiveEntries(record, (n) => folders[n]))) parts.push(piece);
  return Uint8Array.from(Buffer.concat(parts));
}

test("an archive gives the run again, with its adapter, under a new id, and as stopped, because it has no checkpoints", async () => {
  const record = run();
  const { run: back, adapters } = readArchive(await packed(record), "sums.zip", "new-id");
  expect(back).toEqual({ ...record, id: "new-id", status: "stopped", done: 1 });
  expect([...adapters.keys()]).toEqual([0]);
  expect(new TextDecoder().decode(adapters.get(0)!.get("adapter_model.safetensors"))).toBe("weights");
  // a phase without an adapter does not hide a later one
  const later = readArchive(await packed(record, 1), "sums.zip", "new-id");
  expect([later.run.done, ...later.adapters.keys()]).toEqual([2, 1]);
  const { run: over } = readArchive(await packed(run({ status: "finished" })), "sums.zip", "new-id");
  expect(over.status).toBe("finished");
});

describe("an archive is refused, and says why, if", () => {
  const zip = (record: unknown, others: Record<string, Uint8Array> = {}) =>
    zipSync({ "run.json": text(JSON.stringify(record)), ...others });
  const wrong = (change: Record<string, unknown>) => zip({ version: 1, run: { ...run(), ...change } });
  test.each([
    ["it is no zip", text("hello"), "it is no archive"],
    ["it has no record", zipSync({ "readme.txt": text("x") }), "it has no run.json"],
    ["its record is cut", zipSync({ "run.json": text('{"version": 1, "run": {') }), "is damaged"],
    ["its version is another", zip({ version: 2, run: run() }), "another version"],
    ["a name is missing", wrong({ name: 7 }), "no name, model or data"],
    ["a method is unknown", wrong({ phases: [{ method: "toString", global_step: 1 }] }), "a phase of an unknown kind"],
    ["its phase does not exist", wrong({ phase: 5 }), "a phase of an unknown kind"],
    ["its job has other phases", wrong({ job: { ...job, phases: [] } }), "no job for its phases"],
    ["a log holds text", wrong({ logs: [[{ step: 1, loss: "<b>" }], []] }), "damaged logs"],
    [
      "an evaluation has no answers",
      wrong({ evaluations: [{ stage: "base", phase: 0, accuracy: 1, problems: [{}] }] }),
      "damaged evaluations",
    ],
    [
      "a completion has no text",
      wrong({ completions: [{ phase: 0, step: 1, records: [{ prompt: 1 }] }] }),
      "damaged completions",
    ],
  ])("%s", (_, bytes, why) => {
    expect(() => readArchive(bytes, "x.zip", "id")).toThrow(FormatError);
    expect(() => readArchive(bytes, "x.zip", "id")).toThrow(why);
  });
  test("but files that no run has are left out, whatever their paths", () => {
    const bytes = zip(
      { version: 1, run: run() },
      { "../../evil.json": text("x"), "phase-1/adapter_config.json": text("{}") },
    );
    expect(readArchive(bytes, "x.zip", "id").adapters.size).toBe(0); // an adapter has two files
  });
});
