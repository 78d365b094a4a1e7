import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { contents, TINY, tinyRows } from "../train/fixtures.ts";
import { qwench, useProcesses } from "./process.ts";

// The command line as a separate process: results of a kill and of Ctrl-C, and exit codes.

useProcesses();

let root: string;
const at = (...names: string[]) => join(root, ...names);

const sft = (output: string, ...more: string[]) => [
  ..."sft --max_steps 10 --logging_steps 1 --save_strategy steps --save_steps 5 --lora_r 4 --learning_rate 1e-2".split(
    " ",
  ),
  ..."--lora_dropout 0.1 --neftune_noise_alpha 5 --warmup_steps 2 --lr_scheduler_type cosine".split(" "),
  "--model_name_or_path",
  at("model"),
  "--dataset_name",
  at("rows.jsonl"),
  "--output_dir",
  output,
  ...more,
];

const lossesOf = (output: string) =>
  readFileSync(join(output, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => /"step":\d+,"loss":[^,]+/.exec(line)![0]);

let straight: string[];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-signals-"));
  await writeRandomCheckpoint(nodeFolder(at("model")), TINY, 1);
  const rows = tinyRows(40, { shortest: 60, longest: 100 });
  writeFileSync(at("rows.jsonl"), rows.map(({ row }) => `${JSON.stringify(row)}\n`).join(""));
  const { code, said } = await qwench(sft(at("straight")));
  expect(code, said).toBe(0);
  straight = lossesOf(at("straight"));
  expect(straight).toHaveLength(10);
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

describe("a run that ends early", () => {
  it("kill -9 during the sixth step: resumed, the same ten losses and the same adapter, bit for bit", async () => {
    const output = at("killed");
    const first = await qwench(sft(output), { at: ["checkpoint-5", "SIGKILL"] });
    expect(first.signal).toBe("SIGKILL");
    expect(lossesOf(output).length).toBeGreaterThanOrEqual(5);
    expect(lossesOf(output).length).toBeLessThan(10);
    expect(await nodeFolder(output).exists("adapter_model.safetensors")).toBe(false);
    const second = await qwench(sft(output, "--resume_from_checkpoint", "true"));
    expect(second.code, second.said).toBe(0);
    expect(second.said).toContain("Resumed after step 5");
    expect(lossesOf(output)).toEqual(straight);
    const [got, want] = [await contents(nodeFolder(output)), await contents(nodeFolder(at("straight")))];
    for (const name of ["adapter_model.safetensors", "checkpoint-10/optimizer.safetensors"])
      expect(got[name], name).toBe(want[name]);
    expect(Object.keys(got).sort()).toEqual(Object.keys(want).sort());
  });

  it("Ctrl-C saves at the step boundary and exits 130; resumed, the losses are the same", async () => {
    const output = at("interrupted");
    const first = await qwench(sft(output), { at: ["step 2/10", "SIGINT"] });
    expect(first.code, first.said).toBe(130);
    expect(first.said).toMatch(
      /Stopping at the next step boundary.*[\s\S]*Stopped after step (\d) of 10; checkpoint-\1 holds everything/,
    );
    const [step] = /(?<=Stopped after step )\d/.exec(first.said)!;
    expect(await nodeFolder(output).folders()).toContain(`checkpoint-${step}`);
    expect(lossesOf(output)).toEqual(straight.slice(0, Number(step)));
    expect(readFileSync(join(output, "report.html"), "utf8")).toContain("interrupted");
    const second = await qwench(sft(output, "--resume_from_checkpoint", join(output, `checkpoint-${step}`)));
    expect(second.code, second.said).toBe(0);
    expect(lossesOf(output)).toEqual(straight);
    const [got, want] = [await contents(nodeFolder(output)), await contents(nodeFolder(at("straight")))];
    expect(got["adapter_model.safetensors"]).toBe(want["adapter_model.safetensors"]);
  });

  it("bad input ends a separate process with code 1, wrong usage with 2, without a stack trace", async () => {
    const missing = qwench([
      "sft",
      "--model_name_or_path",
      at("model"),
      "--dataset_name",
      at("none.jsonl"),
      "--output_dir",
      at("x"),
    ]);
    const usage = qwench(["sft", "--lora_rank", "8"]);
    const [bad, wrong] = [await missing, await usage];
    expect(bad.code).toBe(1);
    expect(bad.said).toMatch(/^NotFoundError: Cannot read rows from .*none\.jsonl/m);
    expect(bad.said).not.toMatch(/\n\s+at /);
    expect(wrong.code).toBe(2);
    expect(wrong.said).toMatch(/Unknown flag --lora_rank: did you mean --lora_r\?/);
    expect(await nodeFolder(root).folders()).not.toContain("x");
  });
});
