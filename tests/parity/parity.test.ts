import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { NotFoundError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { openSafetensors } from "../../src/io/safetensors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { useGpu } from "../kernels/harness.ts";
import { runParity } from "./parity.ts";
import type { ParityRow } from "./parity-model.ts";

const shared = process.env.QWENCH_SHARED ?? fileURLToPath(new URL("../../../shared", import.meta.url));
const path = `${shared}/golden`;
const present = existsSync(path);
if (!present) console.warn(`There are no golden numbers at ${path}: parity is checked on a case made here alone.`);

/** Copies a folder into memory under another name: the cases' names must not matter. */
async function copy(from: Folder, to: Folder): Promise<void> {
  for (const name of await from.list()) {
    const source = await from.open(name);
    await to.write(name, await source.read(0, source.size));
  }
  for (const name of await from.folders()) await copy(from.folder(name), to.folder(name));
}

/** Adds a half to the first number of a tensor. */
async function damage(folder: Folder, name: string, tensor: RegExp): Promise<void> {
  const source = await folder.open(name);
  const bytes = await source.read(0, source.size);
  const { tensors } = await openSafetensors(source);
  const entry = [...tensors.values()].find(({ name: key }) => tensor.test(key))!;
  const view = new DataView(bytes.buffer, bytes.byteOffset + entry.begin, 4);
  view.setFloat32(0, view.getFloat32(0, true) + 0.5, true);
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
    if (!present) return expect(gpu()).toBeDefined();
    const { rows, failed } = await check(nodeFolder(path));
    expect(failed).toEqual([]);
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
    // each case was run, and each tells more than it must
    for (const name of ["qwen2", "qwen2_odd", "qwen3", "sft", "schedules"])
      expect(new Set(rows.map((row) => row.case))).toContain(name);
    for (const { check: name, worst, case: title } of rows)
      if (name.endsWith("logits") && !title.includes("float16") && !/F16/.test(name)) expect(worst).toBeLessThan(2e-5);
  });

  it("fails on a golden case with one number changed, whichever it is", async () => {
    if (!present) return expect(gpu()).toBeDefined();
    const whole = memoryFolder("golden");
    await copy(nodeFolder(`${path}/qwen2`), whole.folder("any name"));
    const cases: [string, RegExp, string][] = [
      ["base_outputs.safetensors", /^logits$/, "logits"],
      ["base_outputs.safetensors", /^token_logprobs$/, "token_logprobs"],
      ["base_outputs.safetensors", /^entropy$/, "entropy"],
      ["base_grads.safetensors", /layers\.1\.mlp\.down_proj/, "base_grads"],
      ["lora_grads.safetensors", /layers\.1\.self_attn\.q_proj\.lora_A/, "lora_grads"],
      ["adapter_model.safetensors", /layers\.0\.mlp\.up_proj\.lora_B/, "adapter logits"],
    ];
    for (const [name, tensor, what] of cases) {
      const folder = memoryFolder("damaged");
      await copy(whole, folder);
      const owner = folder.folder("any name");
      await damage(name.startsWith("adapter") ? owner.folder("adapter") : owner, name, tensor);
      const { failed } = await check(folder);
      expect(
        failed.map((row) => row.check),
        `${name} ${tensor}`,
      ).toContain(what);
    }
    const text = memoryFolder("damaged");
    await copy(whole, text);
    const golden = JSON.parse(await text.folder("any name").readText("case.json"));
    golden.lora_loss *= 1 + 3e-5;
    golden.greedy_with_adapter[0].completion[5]++;
    await text.folder("any name").write("case.json", JSON.stringify(golden));
    expect((await check(text)).failed.map((row) => row.check)).toEqual(["lora_loss", "greedy tokens that differ"]);
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

  it("fails where there is nothing to check", async () => {
    await expect(check(memoryFolder("empty"))).rejects.toThrow(NotFoundError);
  });
});
