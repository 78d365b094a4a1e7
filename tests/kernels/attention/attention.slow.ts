import { describe, expect, it } from "vitest";
import { Gpu } from "../../../src/gpu/device.ts";
import { attentionCases, attentionFormCases } from "../../../src/kernels/attention/attention.cases.ts";
import { runCase } from "../../../src/kernels/check.ts";
import { profileFor } from "../../gpu/adapters.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("attention in every form", attentionFormCases());

describe("the tiles of a GPU, on this adapter", () => {
  const gpu = useGpu();
  const wide = attentionCases.filter(({ name }) => / of (16|64|128|256)\b/.test(name));
  it.each(wide)("attention $name", async (item) => {
    const { device, features } = gpu();
    const on = new Gpu(device, { features, profile: profileFor("a GPU whose browser tells nothing") });
    const { worst, what } = await runCase(on, item);
    on.clear();
    expect(worst <= item.tolerance, `${what}: relative error ${worst}, allowed ${item.tolerance}`).toBe(true);
  });
});
