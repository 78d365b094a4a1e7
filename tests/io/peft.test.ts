import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FormatError, NotFoundError, ShapeError, UnsupportedError } from "../../src/errors.ts";
import { parseAdapterName, parseRowsName, parseTableName } from "../../src/io/adapter-names.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { type AdapterConfig, type AdapterTensor, readAdapter, writeAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { GOLDEN } from "../shared.ts";

const config: AdapterConfig = {
  r: 2,
  lora_alpha: 4,
  lora_dropout: 0.05,
  target_modules: ["q_proj"],
  use_rslora: true,
  base_model_name_or_path: "Qwen/Qwen2.5-0.5B",
};
const stem = "base_model.model.model.layers.0.self_attn.q_proj";
const tensors: AdapterTensor[] = [
  { name: `${stem}.lora_A.weight`, shape: [2, 3], data: Float32Array.from([1, 2, 3, 4, 5, 6]) },
  { name: `${stem}.lora_B.weight`, shape: [4, 2], data: new Float32Array(8).fill(-0.5) },
];

async function written(change: Record<string, unknown> = {}) {
  const folder = memoryFolder("adapter");
  await writeAdapter(folder, config, tensors);
  const raw = { ...JSON.parse(await folder.readText("adapter_config.json")), ...change };
  await folder.write("adapter_config.json", JSON.stringify(raw));
  return folder;
}

describe("names of an adapter's tensors", () => {
  it.each([
    ["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.0.self_attn.q_proj", "lora_A"],
    ["base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight", "model.layers.0.mlp.up_proj", "lora_B"],
    ["model.layers.3.mlp.up_proj.lora_A.weight", "model.layers.3.mlp.up_proj", "lora_A"],
    ["layers.3.mlp.up_proj.lora_A.my-own.weight", "model.layers.3.mlp.up_proj", "lora_A"],
    [
      "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_A.weight",
      "model.layers.1.mlp.up_proj",
      "lora_A",
    ],
    [
      "base_model.model.language_model.model.layers.1.mlp.up_proj.lora_B.weight",
      "model.layers.1.mlp.up_proj",
      "lora_B",
    ],
    [
      "base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector",
      "model.layers.0.mlp.up_proj",
      "lora_magnitude_vector",
    ],
    ["base_model.model.model.visual.layers.0.up_proj.lora_A.weight", "model.visual.layers.0.up_proj", "lora_A"],
  ])("%s", (name, module, part) => {
    expect(parseAdapterName(name)).toEqual({ module, part, transposed: false });
  });

  it("of embedding and head", () => {
    for (const name of ["lm_head.weight", "base_model.model.lm_head.modules_to_save.default.weight"]) {
      expect(parseTableName(name)).toBe("base_model.model.lm_head.weight");
    }
    const embedding = "base_model.model.model.language_model.embed_tokens.weight";
    expect(parseTableName(embedding)).toBe("base_model.model.model.embed_tokens.weight");
    expect(parseTableName("base_model.model.model.norm.weight")).toBeNull();
  });

  it("of trained rows", () => {
    const own = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";
    expect(parseRowsName(own)).toBe(own);
    expect(parseRowsName("model.language_model.embed_tokens.trainable_tokens_delta.default")).toBe(own);
    expect(parseRowsName("base_model.model.model.norm.trainable_tokens_delta")).toBeNull();
  });

  it("include MLX's names, whose matrices are transposed, and no others", () => {
    const name = "model.layers.0.self_attn.q_proj.lora_a";
    expect(parseAdapterName(name)).toEqual({ module: stem.slice(17), part: "lora_A", transposed: true });
    expect(parseAdapterName("model.layers.0.self_attn.q_proj.weight")).toBeNull();
    expect(parseAdapterName("lora_A.weight")).toBeNull();
  });
});

describe("writeAdapter and readAdapter", () => {
  it("round-trip", async () => {
    const adapter = await readAdapter(await written());
    expect(adapter.config).toMatchObject(config);
    expect([...adapter.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
    for (const { name, data } of tensors) expect(await adapter.read(name)).toEqual(data);
    await expect(adapter.read("x")).rejects.toThrow(NotFoundError);
  });

  it("write the golden adapters byte for byte, and every field of their config", async () => {
    const folders = ["qwen2/adapter", "qwen3/adapter", "grpo/adapter", "sft/adapter_init"];
    for (const path of folders) {
      const home = join(GOLDEN, path);
      const adapter = await readAdapter(nodeFolder(home));
      const copy: AdapterTensor[] = [];
      for (const [name, { shape }] of adapter.tensors) copy.push({ name, shape, data: await adapter.read(name) });
      const folder = memoryFolder();
      await writeAdapter(folder, adapter.config, copy.reverse());
      const text = await folder.readText("adapter_config.json");
      expect(text).toContain('"lora_dropout": 0.0'); // PEFT's own type: a float
      const of = JSON.parse(readFileSync(join(home, "adapter_config.json"), "utf8"));
      // every written field equals PEFT's, and omitted fields have default values
      expect(of).toMatchObject(JSON.parse(text));
      for (const name of Object.keys(of)) {
        if (name in JSON.parse(text) || name === "peft_version") continue;
        expect([null, false, 16, "{}"], name).toContainEqual(
          typeof of[name] === "object" && of[name] ? "{}" : of[name],
        );
      }
      const source = await folder.open("adapter_model.safetensors");
      const expected = readFileSync(join(home, "adapter_model.safetensors"));
      expect(Buffer.compare(await source.read(0, source.size), expected), path).toBe(0);
    }
  });

  it.each<[string, unknown]>([
    ["bias", "lora_only"],
    ["peft_type", "IA3"],
    ["task_type", "SEQ_CLS"],
    ["fan_in_fan_out", true],
    ["layer_replication", [[0, 1]]],
    ["target_parameters", ["experts"]],
    ["init_lora_weights", "pissa_niter_4"],
    ["lora_bias", true],
    ["a_field_of_tomorrow", "on"],
  ])("refuse %s = %j by name", async (field, value) => {
    const reading = readAdapter(await written({ [field]: value }));
    await expect(reading).rejects.toThrow(UnsupportedError);
    await expect(reading).rejects.toThrow(field);
  });

  it("accept fields that do not change the result", async () => {
    const folder = await written({
      peft_version: "0.99.0",
      revision: "main",
      inference_mode: false,
      init_lora_weights: "gaussian",
      base_model_name_or_path: null,
      task_type: null,
      target_modules: ".*q_proj",
    });
    const { config: read } = await readAdapter(folder);
    expect(read).toMatchObject({ target_modules: ".*q_proj", base_model_name_or_path: "" });
  });

  it.each<[string, unknown]>([
    ["r", 0],
    ["r", -8],
    ["r", 1.5],
    ["r", "8"],
    ["lora_alpha", "x"],
    ["lora_dropout", 1],
    ["lora_dropout", -0.1],
    ["use_rslora", 1],
    ["target_modules", []],
    ["target_modules", null],
    ["target_modules", [""]],
    ["exclude_modules", [1]],
    ["rank_pattern", { q_proj: 0 }],
    ["alpha_pattern", { q_proj: "x" }],
    ["layers_to_transform", [-1]],
    ["layers_pattern", [1]],
    ["trainable_token_indices", [5, 5]],
    ["trainable_token_indices", { embed_tokens: [0.5] }],
    ["trainable_token_indices", { embed_tokens: 5 }],
  ])("refuse %s = %j", async (field, value) => {
    await expect(readAdapter(await written({ [field]: value }))).rejects.toThrow(FormatError);
    await expect(readAdapter(await written({ [field]: value }))).rejects.toThrow(field);
  });

  it("refuse a rank that differs from the tensors, a lone A and unknown tensors", async () => {
    const save = (list: AdapterTensor[], change: Partial<AdapterConfig> = {}) =>
      writeAdapter(memoryFolder(), { ...config, ...change }, list);
    await expect(save(tensors.slice(0, 1))).rejects.toThrow(/lora_B\.weight is missing/);
    await expect(save([])).rejects.toThrow(/no LoRA matrices/);
    await expect(save(tensors, { r: 0 })).rejects.toThrow(/r must be a whole number ≥ 1, not 0/);
    await expect(save([{ ...tensors[0]!, shape: [2, 4] }])).rejects.toThrow(/needs 8 values, but its data has 6/);
    await expect(save([{ ...tensors[0]!, name: "base_model.model.model.norm.weight" }])).rejects.toThrow(
      /norm\.weight is not the name of an adapter tensor/,
    );
    const head = { ...tensors[0]!, name: "base_model.model.lm_head.weight" };
    await expect(save([...tensors, head])).rejects.toThrow(/holds .*lm_head\.weight, which its modules_to_save/);
    await save([...tensors, head], { modules_to_save: ["lm_head"] });
    const rows = { ...tensors[0]!, name: "base_model.model.lm_head.token_adapter.trainable_tokens_delta" };
    await expect(save([...tensors, rows])).rejects.toThrow("its trainable_token_indices are empty");
    await save([...tensors, rows], { trainable_token_indices: { lm_head: [4, 1] } });
    const other = { ...tensors[1]!, shape: [8, 1] };
    await expect(save([tensors[0]!, other])).rejects.toThrow(/their ranks 2 and 1 differ/);
    await expect(save([tensors[0]!, other])).rejects.toThrow(ShapeError);
  });

  it("keep the old adapter if the new one is refused", async () => {
    const folder = await written();
    await expect(writeAdapter(folder, { ...config, r: 0 }, tensors)).rejects.toThrow(FormatError);
    expect((await readAdapter(folder)).config.r).toBe(2);
  });
});
