import { describe, expect, it } from "vitest";
import { towerOf } from "../../../src/model/architectures/tensors.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { visionConfig } from "./fixtures.ts";

const edited = (change: Record<string, unknown>) => {
  const json = visionConfig();
  return { ...json, vision_config: { ...(json.vision_config as object), ...change } };
};

describe("vision_config", () => {
  it("is read with transformers' defaults, and names the tower's tensors", () => {
    const config = parseModelConfig(visionConfig());
    expect(config.vision).toMatchObject({
      in_channels: 3,
      temporal_patch_size: 2,
      spatial_merge_size: 2,
      rope_theta: 1e4,
    });
    expect(config.mrope_section).toEqual([3, 3, 2]);
    const { tensors, modules, patch, merger } = towerOf(config)!;
    expect(tensors.get("model.visual.patch_embed.proj.weight")!.shape).toEqual([48, 3, 2, 8, 8]);
    expect(tensors.get("model.visual.pos_embed.weight")!.shape).toEqual([36, 48]);
    expect(tensors.get("model.visual.merger.linear_fc1.weight")!.shape).toEqual([192, 192]);
    expect(tensors.get("model.visual.merger.norm.bias")!.shape).toEqual([48]);
    expect(tensors.size).toBe(2 + 1 + 2 * 12 + 6);
    expect(modules.map(({ path }) => path).slice(0, 2)).toEqual([
      "model.visual.blocks.0.attn.qkv",
      "model.visual.blocks.0.attn.proj",
    ]);
    expect([patch, ...merger].map(({ name }) => name)).toEqual(["proj", "linear_fc1", "linear_fc2"]);
  });

  it.each([
    [{ hidden_size: 0 }, "vision_config.hidden_size must be a positive integer, got 0"],
    [{ num_heads: 5 }, "hidden_size is 48; its 5 heads must have a multiple of 4 elements each"],
    [{ num_position_embeddings: 35 }, "num_position_embeddings is 35; it must be a square number"],
    [{ hidden_act: "relu" }, 'hidden_act is "relu"; it must be "gelu_pytorch_tanh"'],
    [{ deepstack_visual_indexes: [1] }, "deepstack_visual_indexes is [1]; it must be empty"],
    [{ out_hidden_size: 32 }, "vision_config.out_hidden_size is 32; the language model's hidden_size is 64"],
    [{ rope_parameters: { rope_theta: 0 } }, "rope_theta must be a number above 1, got 0"],
  ])("is refused with %j", (change, message) => {
    expect(() => parseModelConfig(edited(change))).toThrow(message);
  });

  it("may be absent: the model then sees no images", () => {
    expect(parseModelConfig({ ...visionConfig(), vision_config: undefined }).vision).toBe(null);
  });
});
