import { describe, expect, it } from "vitest";
import { NotFoundError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { openSafetensors } from "../../src/io/safetensors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { useGpu } from "../kernels/harness.ts";
import { GOLDEN, sharedPath } from "../shared.ts";
import { runParity } from "./parity.ts";
import type { ParityRow } from "./parity-model.ts";

/** Qwen3.5, where it is at hand. */
const qwen35 = sharedPath("golden_next/qwen35");

/** Copies a folder into memory under another name: the cases' names must not matter. */
async function copy(from: Folder, to: Folder): Promise<void> {
  for (const name of await from.list()) {
    const source = await from.open(name);
    await to.write(name, await source.read(0, source.size));
  }
  for (const name of await from.folders()) await copy(from.folder(name), to.folder(name));
}

/** Changes the first number of a tensor: by a half, or for gradients in I16 by half of the largest entry. */
async function damage(folder: Folder, name: string, tensor: RegExp): Promise<void> {
  const source = await folder.open(name);
  const bytes = await source.read(0, source.size);
  const { tensors } = await openSafetensors(source);
  const entry = [...tensors.values()].find(({ name: key }) => tensor.test(key))!;
  const view = new DataView(bytes.buffer, bytes.byteOffset + entry.begin, 4);
  if (entry.dtype === "I16") view.setInt16(0, view.getInt16(0, true) ^ 0x4000, true);
  else view.setFloat32(0, view.getFloat32(0, true) + 0.5, true);
  await folder.write(name, bytes);
}

describe("parity", () => {
  const gpu = useGpu();
  const check = async (folder: Folder) => {
    const rows: ParityRow[] = [];
    const { left } = await runParity(gpu(), folder, (row) => rows.push(row));
    return { rows, left, failed: rows.filter(({ worst, tolerance }) => !(worst <= tolerance)) };
  };

  it("agrees with transformers, PEFT and TRL on every golden case", async () => {
    const { rows, failed, left } = await check(nodeFolder(GOLDEN));
    expect(failed).toEqual([]);
    expect(left).toEqual([]);
    const checks = new Set(rows.map((row) => row.check));
    for (const name of [
      "logits",
      "token_logprobs",
      "entropy",
      "base_loss",
      "base_grads",
      "adapter logits",
      "lora_loss",
      "merged in F32 logits",
      "merged in F32 loss",
      "merged in BF16 logits",
      "lora_grads",
      "greedy tokens that differ",
      "adapter at the end",
    ])
      expect(checks).toContain(name);
    // each case ran, with more rows than the minimum
    for (const name of [
      "qwen2",
      "qwen3",
      "dora",
      "sft",
      "sft_packed",
      "grpo",
      "grpo_113",
      "sft_losses",
      "dpo",
      "sampling",
      "schedules",
      "advantages",
    ])
      expect(new Set(rows.map((row) => row.case))).toContain(name);
    expect(rows.filter((row) => row.case === "grpo").length).toBeGreaterThan(20);
    expect(rows.filter((row) => row.case === "grpo_113")).toHaveLength(2 + 3 * 19);
    expect(rows.filter((row) => row.case === "sft_losses")).toHaveLength(2 * 2);
    const ofDora = rows.filter((row) => row.case === "dora").map((row) => row.check);
    for (const name of [
      "adapter logits",
      "lora_loss",
      "lora_grads",
      "merged in F32 logits",
      "greedy tokens that differ",
    ])
      expect(ofDora).toContain(name);
    expect(ofDora).not.toContain("base_grads"); // its base is that of grpo_113
    expect(rows.filter((row) => row.case === "dpo").length).toBeGreaterThan(15);
    for (const { check: name, worst, case: title } of rows)
      if (name.endsWith("logits") && !title.includes("float16") && !/F16/.test(name)) expect(worst).toBeLessThan(2e-5);
  });

  it("bf16 agrees with them within its own tolerances, and rounds what f32 does not", async () => {
    const whole = memoryFolder("golden");
    for (const name of ["qwen3", "sft", "dpo"]) await copy(nodeFolder(`${GOLDEN}/${name}`), whole.folder(name));
    const rows: ParityRow[] = [];
    await runParity(gpu(), whole, (row) => rows.push(row), "bf16");
    expect(rows.filter(({ worst, tolerance }) => !(worst <= tolerance))).toEqual([]);
    const gradients = rows.filter(({ check: name }) => /grads|gradients/.test(name) && !/f32/.test(name));
    expect(gradients.length).toBeGreaterThan(5);
    for (const { worst } of gradients) expect(worst).toBeGreaterThan(1e-4);
    expect(gpu().activations).toBe("f32");
  });

  // its language model by itself: parity.slow.ts
  it.skipIf(!qwen35)("agrees with them on Qwen3.5 as published", async () => {
    const whole = memoryFolder("golden");
    await copy(nodeFolder(qwen35!), whole.folder("any name"));
    const { rows, failed, left } = await check(whole);
    expect(failed).toEqual([]);
    expect(left).toEqual([]);
    const checks = rows.map((row) => row.check);
    for (const name of ["image features", "base_grads", "lora_grads", "merged in F32 loss"])
      expect(checks).toContain(name);
  });

  it("fails on a golden case with a number changed, each check by itself", async () => {
    const whole = memoryFolder("golden");
    await copy(nodeFolder(`${GOLDEN}/qwen2`), whole.folder("any name"));
    const folder = whole.folder("any name");
    const cases: [string, RegExp][] = [
      ["base_outputs.safetensors", /^logits$/],
      ["base_outputs.safetensors", /^token_logprobs$/],
      ["base_outputs.safetensors", /^entropy$/],
      ["base_grads.safetensors", /layers\.1\.mlp\.down_proj/],
      ["lora_grads.safetensors", /layers\.1\.self_attn\.q_proj\.lora_A/],
    ];
    for (const [name, tensor] of cases) await damage(folder, name, tensor);
    const golden = JSON.parse(await folder.readText("case.json"));
    golden.lora_loss *= 1 + 3e-5;
    golden.greedy_with_adapter[0].completion[5]++;
    await folder.write("case.json", JSON.stringify(golden));
    const { failed } = await check(whole);
    expect(failed.filter((row) => row.case === "any name").map((row) => row.check)).toEqual([
      "logits",
      "token_logprobs",
      "entropy",
      "base_grads",
      "lora_loss",
      "lora_grads",
      "greedy tokens that differ",
    ]);

    const other = memoryFolder("golden");
    await copy(nodeFolder(`${GOLDEN}/qwen2`), other.folder("any name"));
    await damage(
      other.folder("any name").folder("adapter"),
      "adapter_model.safetensors",
      /layers\.0\.mlp\.up_proj\.lora_B/,
    );
    expect((await check(other)).failed.map((row) => row.check)).toContain("adapter logits");
  });

  it("fails on NaN in a golden file, and on a schedule that differs in its last digits", async () => {
    const schedule = { lr_scheduler_type: "linear", kwargs: {}, learning_rate: 1, warmup_steps: 0, max_steps: 4 };
    const folder = memoryFolder("golden");
    await folder.write(
      "schedules.json",
      JSON.stringify([
        { ...schedule, lr: [1, 0.75, 0.5, 0.25] },
        { ...schedule, lr: [1, 0.75, 0.5, 0.25 + 1e-9] },
        { ...schedule, lr: [1, 0.75, null, 0.25] },
      ]),
    );
    await folder.write("notes.json", "{}");
    const { rows, failed, left } = await check(folder);
    expect(rows).toHaveLength(3);
    expect(failed).toHaveLength(2);
    expect(left).toEqual(["notes.json"]);
  });

  it("fails if there is nothing to check", async () => {
    await expect(check(memoryFolder("empty"))).rejects.toThrow(NotFoundError);
  });
});
