import { describe, expect, it } from "vitest";
import { Gpu } from "../../../src/gpu/device.ts";
import { SUBGROUP_MATRIX } from "../../../src/gpu/subgroup-matrix.ts";
import { attention, attentionBackward } from "../../../src/kernels/attention/attention.ts";
import { attentionMatricesCases, matricesOf } from "../../../src/kernels/attention/attention-matrices.cases.ts";
import { openNullAdapter } from "../../../src/platform/node/node.ts";
import { profileFor } from "../../gpu/adapters.ts";
import { describeCases, useGpu } from "../harness.ts";
import { attendBits } from "./tile-blocks.ts";

describeCases("attention on matrix units", attentionMatricesCases);

const gpu = useGpu();

it("cut into dispatches for a slow GPU, gives the same bits", async ({ skip }) => {
  if (!gpu().features.f16) skip("the adapter has no f16");
  const form = matricesOf(gpu(), [16, 16, 16, 128]);
  const whole = await attendBits(gpu(), form, [2, 1, 64], 1e12);
  const cut = await attendBits(gpu(), form, [2, 1, 64], 1e3);
  expect(cut.dispatches).toBeGreaterThan(whole.dispatches + 3);
  expect(cut.o).toEqual(whole.o);
  expect(cut.dqkv).toEqual(whole.dqkv);
});

describe("with the builtins", () => {
  /** Kernels of a forward and a backward pass on a device with these matrices, compiled by Dawn, which runs nothing. */
  async function used(
    precision: Gpu["precision"],
    sizes: { m: number; n: number; k: number; older?: true },
    heads: readonly [number, number, number],
  ): Promise<string[]> {
    const { adapter } = await openNullAdapter(["allow_unsafe_apis"]);
    const device = await adapter.requestDevice({
      requiredFeatures: [SUBGROUP_MATRIX, "shader-f16", "subgroups" as GPUFeatureName],
    });
    const matrix = { type: "f16", ...sizes, size: 32, multiple: adapter.info.subgroupMaxSize! } as const;
    const features = { f16: true, subgroups: true, timestamps: false, matrix };
    const gpu = new Gpu(device, { features, profile: profileFor("nvidia") });
    gpu.precision = precision;
    const [num_attention_heads, num_key_value_heads, head_dim] = heads;
    for (const causal of [true, false]) {
      const of = { num_attention_heads, num_key_value_heads, head_dim, causal };
      const record = gpu.recorder();
      const made = (width: number) => record.empty([100, width], "f32", "operand");
      const [qkv, dout] = [made((heads[0] + 2 * heads[1]) * head_dim), made(heads[0] * head_dim)];
      const spans = record.empty([100, 2], "u32", "spans");
      const { o, stats } = attention(record, qkv, spans, of);
      attentionBackward(record, { qkv, spans, o, dout, stats }, of);
      record.submit();
      await gpu.settle();
    }
    const names = gpu.programs.kernels.map(({ shader }) => shader.name).filter((name) => name.startsWith("attention"));
    device.destroy();
    return [...new Set(names)].filter((name) => !/Gather|Delta/.test(name)).sort();
  }
  const MATRICES = ["attentionMatrices", "attentionMatricesBackwardKv", "attentionMatricesBackwardQ"];

  it.each([
    [16, 16, 16, 14, 2, 64],
    [16, 16, 16, 16, 8, 128],
    [16, 8, 16, 12, 2, 128],
    [16, 16, 16, 2, 2, 80],
  ])("matrices %s×%s×%s compile: %s heads over %s of %s", async (m, n, k, ...heads) => {
    expect(await used("high", { m, n, k }, heads as [number, number, number])).toEqual(MATRICES);
  });

  it("compile in the builtins' older form", async () => {
    expect(await used("high", { m: 16, n: 16, k: 16, older: true }, [2, 1, 64])).toEqual(MATRICES);
  });

  it("are used where the precision is high and workgroup memory suffices", async () => {
    const sizes = { m: 16, n: 16, k: 16 };
    const tiled = ["attention", "attentionBackwardKv", "attentionBackwardQ"];
    expect(await used("highest", sizes, [2, 1, 64])).toEqual(tiled);
    expect(await used("high", sizes, [2, 1, 256])).toEqual(tiled); // Dawn's null backend has 16 KiB
  });
});
