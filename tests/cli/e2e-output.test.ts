import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { contents, tinyRows } from "../train/fixtures.ts";
import { at, refused, rowsFile, sft, spoilt, useEarlierRun } from "./e2e.ts";

useEarlierRun();

describe("the output folder", () => {
  it("with an earlier run in it is refused without --overwrite_output_dir, and kept", async () => {
    const before = await contents(nodeFolder(at("earlier")));
    const { code, said } = await sft(at("sharded"), at("rows.jsonl"), at("earlier"));
    expect(code).toBe(1);
    expect(said).toMatch(
      /Cannot start a run in .*earlier: it holds checkpoint-1 of another run\. Continue that run with --resume_from_checkpoint true/,
    );
    expect(await contents(nodeFolder(at("earlier")))).toEqual(before);
  });

  it("is refused unchanged while another process trains in it", async () => {
    const folder = mkdtempSync(at("busy-"));
    cpSync(at("earlier"), folder, { recursive: true });
    const owner = { id: process.ppid, host: hostname(), what: "train", began: "" };
    writeFileSync(join(folder, "qwench.lock"), JSON.stringify(owner));
    const before = await contents(nodeFolder(folder));
    const { code, said } = await sft(at("sharded"), at("rows.jsonl"), folder, "--overwrite_output_dir", "true");
    expect(code).toBe(1);
    expect(said).toMatch(/BusyError: Cannot train in .*busy-\w+: process \d+ on \S+ is already working there/);
    expect(await contents(nodeFolder(folder))).toEqual(before);
  });

  it("is also refused with only an adapter, a metrics file or a model in it", async () => {
    for (const name of ["adapter_model.safetensors", "metrics.jsonl", "model.safetensors"]) {
      const folder = mkdtempSync(at("kept-"));
      writeFileSync(join(folder, name), "precious");
      const { code, said } = await sft(at("sharded"), at("rows.jsonl"), folder);
      expect(code).toBe(1);
      expect(said).toContain(`it holds ${name} of another run`);
      expect(readFileSync(join(folder, name), "utf8")).toBe("precious");
    }
  });

  it("is never the model's own, nor a file", async () => {
    const model = spoilt(() => {});
    const before = await contents(nodeFolder(model));
    const { code, said } = await sft(
      model,
      at("rows.jsonl"),
      model,
      "--overwrite_output_dir",
      "true",
      "--use_peft",
      "false",
    );
    expect(code).toBe(2);
    expect(said).toMatch(/RecipeError: output_dir and model_name_or_path are the same folder/);
    expect(await contents(nodeFolder(model))).toEqual(before);
    const file = await sft(at("sharded"), at("rows.jsonl"), at("rows.jsonl"));
    expect(file.code).toBe(1);
    expect(file.said).not.toContain("UNCAUGHT");
  });

  it("without a checkpoint cannot be resumed; with one, not on other rows", async () => {
    await refused(
      at("sharded"),
      at("rows.jsonl"),
      /NotFoundError: Cannot resume from .*nowhere: there is no trainer_state\.json in it/,
      "--resume_from_checkpoint",
      at("nowhere"),
    );
    const empty = mkdtempSync(at("empty-"));
    const none = await sft(at("sharded"), at("rows.jsonl"), empty, "--resume_from_checkpoint", "true");
    expect(none.code).toBe(1);
    expect(none.said).toMatch(/NotFoundError: Cannot resume in .*: it holds no checkpoint-\{step\} folder/);
    const other = rowsFile(tinyRows(12, { seed: 1234 }).map(({ row }) => row));
    await refused(
      at("sharded"),
      other,
      /DataError: Cannot resume from .*checkpoint-2: it was trained on other rows/,
      "--resume_from_checkpoint",
      "true",
      "--max_steps",
      "4",
    );
  });

  it("keeps its checkpoints if the loss becomes NaN", async () => {
    const folder = mkdtempSync(at("nan-"));
    cpSync(at("earlier"), folder, { recursive: true });
    const before = await contents(nodeFolder(folder));
    const more = [
      "--resume_from_checkpoint",
      "true",
      "--max_steps",
      "9",
      "--save_steps",
      "5",
      "--save_total_limit",
      "1",
    ];
    const wild = await sft(at("sharded"), at("rows.jsonl"), folder, ...more, "--learning_rate", "1e30");
    expect(wild.code).toBe(1);
    expect(wild.said).toMatch(
      /TrainingError: Training stopped at step 4: loss \S+, grad_norm \S+\. .*the last checkpoint is intact\. Try a lower learning_rate/,
    );
    const after = await contents(nodeFolder(folder));
    for (const [name, hash] of Object.entries(before))
      if (!["report.html", "metrics.jsonl", "run.json"].includes(name)) expect(after[name], name).toBe(hash);
    expect(readFileSync(join(folder, "report.html"), "utf8")).toContain("failed");
    const steps = readFileSync(join(folder, "metrics.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).step);
    expect(steps).toEqual([1, 2, 3]);
    const healed = await sft(
      at("sharded"),
      at("rows.jsonl"),
      folder,
      "--resume_from_checkpoint",
      "true",
      "--max_steps",
      "4",
    );
    expect(healed.code).toBe(0);
    expect(healed.said).toMatch(/Resumed after step 2/);
  });
});
