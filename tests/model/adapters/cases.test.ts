import { describe, expect, it } from "vitest";
import { FormatError, UnsupportedError } from "../../../src/errors.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { readAdapter, writeAdapter } from "../../../src/io/peft.ts";
import { bytesOf, encodeSafetensors } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { loadAdapter, setAdapter } from "../../../src/model/adapters/loaded.ts";
import { type TargetFields, targetModules, targetsOf } from "../../../src/model/adapters/targets.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { loadModel, openAdapterFor } from "../../../src/model/files/load.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { useGpu } from "../../kernels/harness.ts";

const at = (path: string) => nodeFolder(new URL(path, import.meta.url).pathname);
const embedded = () => at("../../../assets/tiny");
const config = async () => parseModelConfig((await openCheckpoint(embedded())).config);

/** The first logits after six tokens, of the embedded model with an adapter. */
async function logitsOf(gpu: Gpu, adapter: Folder): Promise<number[]> {
  const model = await loadModel(gpu, await openCheckpoint(embedded()));
  setAdapter(model, await loadAdapter(model, adapter));
  const input_ids = [5, 9, 33, 100, 7, 8];
  const logits = await model.logits({ input_ids, position_ids: [0, 1, 2, 3, 4, 5], cu_seqlens: [0, 6] });
  const vocab = logits.length / 6;
  return [...logits.subarray(5 * vocab, 5 * vocab + 4)];
}

describe("adapters of other programs", () => {
  const gpu = useGpu();

  // logits of PEFT 0.21 on transformers 5.18, float32
  it.each([
    ["bin", [-5.691061, -6.247939, -5.556074, -5.527219]],
    ["default-keys", [-5.691061, -6.247939, -5.556074, -5.527219]],
    ["suffix-paths", [-7.988238, -7.401698, -7.300552, -6.904871]],
    ["unmatched-target", [-10.3871, -9.753434, -10.172745, -9.634653]],
  ])("%s gives PEFT's logits", async (name, want) => {
    const got = await logitsOf(gpu(), at(`cases/${name}`));
    for (const [i, value] of want.entries()) expect(Math.abs(got[i] - value)).toBeLessThan(2e-5);
  });

  it("MLX's folder is the same adapter, with transposed matrices", async () => {
    const peft = await readAdapter(at("cases/default-keys"));
    const folder = memoryFolder("mlx");
    const tensors = [];
    for (const [name, { shape }] of peft.tensors) {
      const [rows, cols] = shape;
      const data = await peft.read(name);
      const turned = new Float32Array(data.length);
      for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) turned[j * rows + i] = data[i * cols + j];
      const own = name
        .replace("base_model.model.", "")
        .replace(".lora_A.weight", ".lora_a")
        .replace(".lora_B.weight", ".lora_b");
      tensors.push({ name: own, dtype: "F32" as const, shape: [cols, rows], data: bytesOf(turned) });
    }
    await folder.write("adapters.safetensors", encodeSafetensors(tensors));
    const lora_parameters = { rank: 4, scale: 2, dropout: 0 };
    await folder.write(
      "adapter_config.json",
      JSON.stringify({ fine_tune_type: "lora", num_layers: 3, lora_parameters }),
    );
    const [want, got] = [await logitsOf(gpu(), at("cases/bin")), await logitsOf(gpu(), folder)];
    expect(got).toEqual(want);
    await folder.write("adapter_config.json", JSON.stringify({ fine_tune_type: "dora", lora_parameters }));
    await expect(readAdapter(folder)).rejects.toThrow(/fine_tune_type is "dora"/);
  });

  it("layers without matrices keep the base model's weights, with a note", async () => {
    const whole = await readAdapter(at("cases/default-keys"));
    const folder = memoryFolder("part");
    const kept = [...whole.tensors].filter(([name]) => !name.includes("layers.0."));
    const tensors = await Promise.all(
      kept.map(async ([name, { shape }]) => ({ name, shape, data: await whole.read(name) })),
    );
    await writeAdapter(folder, whole.config, tensors);
    const { lora, notes } = await openAdapterFor(await config(), folder);
    expect(targetsOf(await config(), lora)).toHaveLength(14);
    expect(notes.join()).toMatch(
      /matrices for 14 of the 21 linear layers .* such as model\.layers\.0\.self_attn\.q_proj/,
    );
    await expect(logitsOf(gpu(), folder)).resolves.toHaveLength(4);
  });

  it("refuses an adapter that does not fit, and names it", async () => {
    const whole = await readAdapter(at("cases/suffix-paths"));
    const tensors = await Promise.all(
      [...whole.tensors].map(async ([name, { shape }]) => ({ name, shape, data: await whole.read(name) })),
    );
    const opened = async (change: object, list = tensors) => {
      const folder = memoryFolder("odd");
      await writeAdapter(folder, { ...whole.config, ...change }, list);
      return openAdapterFor(await config(), folder);
    };
    await expect(opened({ target_modules: ["v_proj"] })).rejects.toThrow(
      /holds .*up_proj.* which its target_modules do not include/,
    );
    await expect(opened({ r: 3 })).rejects.toThrow(/lora_A\.weight is \[4,\d+\].* requires \[3,\d+\]/);
    const far = tensors.map((tensor) => ({ ...tensor, name: tensor.name.replace("layers.2.", "layers.7.") }));
    await expect(opened({}, far)).rejects.toThrow(/layers\.7\..* does not fit this base model of 3 layers/);
    await expect(opened({}, far)).rejects.toThrow(FormatError);
  });
});

describe("which linear layers an adapter is on, as PEFT finds them", () => {
  const of = async (fields: Partial<TargetFields>) => {
    const all = { r: 8, lora_alpha: 16, use_rslora: false, target_modules: ["q_proj"] as string[] | string };
    return targetsOf(await config(), { ...all, ...fields }).map(
      ({ path, r, scale }) => `${path.slice(13)} ${r} ${scale}`,
    );
  };
  const PATH = "model.layers.1.mlp.up_proj";

  it.each<[Partial<TargetFields>, string[]]>([
    [{}, [0, 1, 2].map((i) => `${i}.self_attn.q_proj 8 2`)],
    [{ target_modules: [PATH] }, ["1.mlp.up_proj 8 2"]],
    [{ target_modules: ".*\\.1\\.mlp\\.(up|down)_proj" }, ["1.mlp.up_proj 8 2", "1.mlp.down_proj 8 2"]],
    [
      { target_modules: ".*(?P<which>up)_proj", layers_to_transform: [0] },
      [0, 1, 2].map((i) => `${i}.mlp.up_proj 8 2`),
    ],
    [{ layers_to_transform: [0, 2] }, [0, 2].map((i) => `${i}.self_attn.q_proj 8 2`)],
    [{ layers_to_transform: [1], layers_pattern: ["layers"] }, ["1.self_attn.q_proj 8 2"]],
    [{ layers_to_transform: [1], layers_pattern: ["blocks"] }, []],
    [{ layers_to_transform: [0], target_modules: [PATH] }, ["1.mlp.up_proj 8 2"]],
    [{ exclude_modules: ["layers.1.self_attn.q_proj"] }, [0, 2].map((i) => `${i}.self_attn.q_proj 8 2`)],
    [{ exclude_modules: ".*[02].*" }, ["1.self_attn.q_proj 8 2"]],
    [
      { rank_pattern: { "layers.1.self_attn.q_proj": 4 } },
      ["0.self_attn.q_proj 8 2", "1.self_attn.q_proj 4 4", "2.self_attn.q_proj 8 2"],
    ],
    [
      { alpha_pattern: { "[01].self_attn.q_proj": 4, q_proj: 32 } },
      ["0.self_attn.q_proj 8 0.5", "1.self_attn.q_proj 8 0.5", "2.self_attn.q_proj 8 4"],
    ],
    [{ rank_pattern: { q_proj: 4 }, use_rslora: true }, [0, 1, 2].map((i) => `${i}.self_attn.q_proj 4 8`)],
  ])("%j", async (fields, want) => {
    expect(await of(fields)).toEqual(want);
  });

  it("refuses patterns that are invalid or could run forever", async () => {
    await expect(of({ target_modules: "(.+)+x" })).rejects.toThrow(UnsupportedError);
    await expect(of({ target_modules: "((" })).rejects.toThrow(
      /target_modules "\(\(": it is not a valid regular expression/,
    );
  });

  it("a recipe's names are checked against the model", async () => {
    const model = await config();
    expect(targetModules(model, ".*mlp.*")).toBe(".*mlp.*");
    expect(targetModules(model, ["self_attn.q_proj", "up_proj"])).toEqual(["self_attn.q_proj", "up_proj"]);
    expect(() => targetModules(model, ".*nothing.*")).toThrow(/Cannot apply LoRA to ".\*nothing.\*"/);
  });
});
