import { beforeAll, describe, expect, test } from "vitest";
import { writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { encodeSafetensors, openSafetensors } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { type ExportRequest, type ExportSource, openExport, writeExport } from "../../../src/session/export.ts";
import { checkExport, exportPassed } from "../../../src/session/export-check.ts";
import { useGpu } from "../../kernels/harness.ts";
import { TINY } from "../../train/fixtures.ts";
import { adapterFor, copyTinyTokenizer } from "./fixtures.ts";

const gpu = useGpu();
let model: Folder;
let adapter: Folder;
let source: ExportSource;

beforeAll(async () => {
  model = memoryFolder("base");
  await writeRandomCheckpoint(model, { ...TINY, vocab_size: 640, max_position_embeddings: 128 });
  adapter = await adapterFor(model, { size: 0.1 });
  await copyTinyTokenizer(model);
  source = await openExport(model, adapter);
});

const request = (more: Partial<ExportRequest>): ExportRequest => ({
  format: "merged_16bit",
  name: "m",
  base: "b",
  ...more,
});

async function check(
  more: Partial<ExportRequest>,
  from = source,
  spoil: (folder: Folder) => Promise<void> = async () => {},
) {
  const folder = memoryFolder("out");
  await writeExport(folder, from, request(more));
  await spoil(folder);
  return checkExport(gpu(), source, folder, request(more), { tokens: 8 });
}

describe("the check of an export", () => {
  test.each([
    [{ format: "lora" }, 1e-9],
    [{ dtype: "F32" }, 1e-5],
    [{ dtype: "F16" }, 5e-3],
    [{}, 4e-2],
    [{ format: "merged_4bit" }, 0.5],
    [{ format: "gguf", quantization: "f16" }, 5e-3],
    [{ format: "gguf", quantization: "bf16" }, 4e-2],
    [{ format: "gguf" }, 5e-2],
    [{ format: "gguf", quantization: "q4_0" }, 0.5],
  ] as [Partial<ExportRequest>, number][])("passes %j as it was written", async (more, most) => {
    const result = await check(more);
    expect(exportPassed(result)).toBe(true);
    expect(result.worst).toBeLessThanOrEqual(most);
    expect(result).toMatchObject({ prompts: 4, greedy: { tokens: 32 } });
    expect(result.effect!.worst).toBeGreaterThan(0.3); // there is something to be lost
    expect(result.effect!.kept).toBeGreaterThan(0.8);
    expect(result.effect!.clear).toBe(true);
    if (most < 1e-4) expect(result.greedy.agreed).toBe(32);
  });

  test.each([
    { format: "merged_16bit" },
    { format: "merged_4bit" },
    { format: "gguf", quantization: "q4_0" },
  ] as Partial<ExportRequest>[])("fails %j without its adapter", async (more) => {
    const result = await check(more, { ...source, adapter: null });
    expect(exportPassed(result)).toBe(false);
    expect(result.effect!.kept).toBeLessThan(0.3);
    expect(result.greedy.agreed).toBeLessThan(24);
  });

  test("distinguishes the base from an adapter whose effect is below the format's tolerance", async () => {
    const small = { ...source, adapter: await adapterFor(model, { size: 0.01 }) };
    const folder = memoryFolder("out");
    await writeExport(folder, { ...source, adapter: null }, request({}));
    const result = await checkExport(gpu(), small, folder, request({}), { tokens: 4 });
    expect(result.worst).toBeLessThan(result.tolerance);
    expect(result.effect!.clear).toBe(true);
    expect(result.effect!.kept).toBeLessThan(0.2);
    expect(exportPassed(result)).toBe(false);
    await writeExport(folder, small, request({}));
    expect(exportPassed(await checkExport(gpu(), small, folder, request({}), { tokens: 4 }))).toBe(true);
  });

  test("fails if one matrix or a scale is wrong", async () => {
    const swapped = async (folder: Folder) => {
      const file = await openSafetensors(await folder.open("model.safetensors"));
      const [k, v] = ["k", "v"].map((leaf) => `model.layers.0.self_attn.${leaf}_proj.weight`);
      const tensors = [];
      for (const { name, dtype, shape } of file.tensors.values()) {
        const from = name === k ? v : name === v ? k : name;
        tensors.push({ name, dtype, shape, data: await file.read(from) });
      }
      await folder.write("model.safetensors", encodeSafetensors(tensors));
    };
    expect(exportPassed(await check({}, source, swapped))).toBe(false);
    const scaled = await adapterFor(model, { use_rslora: false, size: 0.1 }); // α/r where α/√r is meant
    expect(exportPassed(await check({}, { ...source, adapter: scaled }))).toBe(false);
  });

  test("reports an export that cannot be loaded", async () => {
    const cut = async (folder: Folder) => {
      const file = await folder.open("model.safetensors");
      await folder.write("model.safetensors", await file.read(0, file.size - 100));
    };
    await expect(check({}, source, cut)).rejects.toThrow(/the file is incomplete or damaged/);
  });

  test("needs no tokenizer, and takes prompts", async () => {
    const bare = memoryFolder("bare");
    await writeRandomCheckpoint(bare, { ...TINY, max_position_embeddings: 32 });
    const alone = await openExport(bare, null);
    const folder = memoryFolder("out");
    await writeExport(folder, alone, request({}));
    const result = await checkExport(gpu(), alone, folder, request({}), { tokens: 4 });
    expect(result).toMatchObject({ worst: 0, effect: null, greedy: { tokens: 16, agreed: 16 } });
    const rows = [{ row: { prompt: "one two three" }, number: 1, file: "p.txt" }];
    await expect(checkExport(gpu(), alone, folder, request({}), { rows })).rejects.toThrow(/has no tokenizer.json/);
    const out = memoryFolder("out");
    await writeExport(out, source, request({}));
    const one = await checkExport(gpu(), source, out, request({}), { rows, tokens: 3 });
    expect(one).toMatchObject({ prompts: 1, greedy: { tokens: 3 } });
  });
});
