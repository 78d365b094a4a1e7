import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isSoftware, type Platform, parseChoice, probeF16 } from "../../../src/platform/adapter.ts";
import { openAdapter, runtimeName } from "../../../src/platform/index.ts";
import { openNullAdapter } from "../../../src/platform/node/node.ts";

let platform: Platform;
let device: GPUDevice;

beforeAll(async () => {
  platform = await openAdapter();
  const requiredFeatures = platform.f16 ? (["shader-f16"] as const) : [];
  device = await platform.adapter.requestDevice({ requiredFeatures });
});

afterAll(() => device.destroy());

/** Runs `tsx` on a program that imports the platform, in a process of its own. */
function child(program: string, env: Record<string, string>) {
  const folder = mkdtempSync(join(tmpdir(), "qwench-platform-"));
  const entry = new URL("../../../src/platform/index.ts", import.meta.url).href;
  const file = join(folder, "program.mts");
  writeFileSync(file, `import { openAdapter } from ${JSON.stringify(entry)};\n${program}\nprocess.exit(0);\n`);
  const ran = spawnSync(process.execPath, ["--import", "tsx", file], {
    encoding: "utf8",
    timeout: 600_000,
    env: { ...process.env, ...env },
  });
  rmSync(folder, { recursive: true });
  return ran;
}

describe("the adapter at hand", () => {
  test("is one of Node's, and named", () => {
    expect(runtimeName()).toBe("node");
    expect(platform.name).toBe("node");
    expect(platform.describe).not.toBe("");
    expect(platform.software).toBe(isSoftware(platform.adapter.info));
    expect(platform.describe.endsWith("(software)")).toBe(platform.software);
  });

  test("computes", async () => {
    const code = `
@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&values)) { values[id.x] = f32(id.x) * 1.5 + 0.25; }
}`;
    const module = device.createShaderModule({ code });
    const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
    const size = 1003 * 4;
    const values = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
    const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const entries = [{ binding: 0, resource: { buffer: values } }];
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(16);
    pass.end();
    encoder.copyBufferToBuffer(values, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const got = new Float32Array(staging.getMappedRange());
    expect(Array.from(got)).toEqual(Array.from({ length: 1003 }, (_, i) => i * 1.5 + 0.25));
  });

  test("has f16 only if the probe saw it work", async () => {
    if (platform.f16) expect(platform.adapter.features.has("shader-f16")).toBe(true);
    expect(await probeF16(device)).toBe(platform.f16);
  });
});

describe("the null backend", () => {
  test("compiles good shaders and refuses bad ones, without a GPU", async () => {
    const { adapter } = await openNullAdapter();
    const nothing = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups"] });
    const errors = async (code: string) => {
      nothing.pushErrorScope("validation");
      const module = nothing.createShaderModule({ code });
      nothing.createComputePipeline({ layout: "auto", compute: { module } });
      return (await nothing.popErrorScope())?.message;
    };
    const good = "enable f16; enable subgroups; @compute @workgroup_size(8) fn main() { _ = subgroupAdd(1h); }";
    expect(await errors(good)).toBeUndefined();
    expect(await errors("@compute @workgroup_size(8) fn main() { let x: u32 = 1.5; }")).toContain("u32");
    expect(await probeF16(nothing)).toBe(false); // it computes nothing, and the probe notices
    nothing.destroy();
  });
});

describe("the choice of adapter", () => {
  test("refuses a name that is none", () => {
    expect(parseChoice(undefined)).toBe("auto");
    expect(parseChoice("mesa")).toBe("mesa");
    expect(() => parseChoice("lavapipe")).toThrow(
      "Cannot use QWENCH_ADAPTER=lavapipe: it must be one of auto, gpu, mesa, swiftshader",
    );
  });

  test("software renderers are told from GPUs", () => {
    const info = (description: string, fallback = false) =>
      ({ vendor: "", architecture: "", device: "", description, isFallbackAdapter: fallback }) as GPUAdapterInfo;
    expect(isSoftware(info("llvmpipe: Mesa 25.0.7"))).toBe(true);
    expect(isSoftware(info("SwiftShader driver 5.0.0"))).toBe(true);
    expect(isSoftware(info("Microsoft Basic Render Driver"))).toBe(true);
    expect(isSoftware(info("", true))).toBe(true);
    expect(isSoftware(info("NVIDIA H200"))).toBe(false);
    expect(isSoftware(info("AMD Radeon RX 7900 (RADV NAVI31): Mesa 25"))).toBe(false);
  });

  test.runIf(process.platform === "linux" && process.arch === "x64")(
    "falls back to SwiftShader where no driver is installed, with one line of advice",
    () => {
      const program = `
for (let i = 0; i < 2; i++) {
  const { adapter, software, advice, describe } = await openAdapter();
  const device = await adapter.requestDevice();
  console.log(JSON.stringify({ software, advised: advice !== null, describe }));
  device.destroy();
}`;
      const { status, stdout, stderr } = child(program, {
        VK_ICD_FILENAMES: "/none.json",
        VK_DRIVER_FILES: "",
        QWENCH_ADAPTER: "auto",
      });
      expect(status, stderr).toBe(0);
      const lines = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(lines).toEqual(
        Array(2).fill({ software: true, advised: lines[0].advised, describe: expect.stringContaining("SwiftShader") }),
      );
      expect(lines[0].advised).toBe(true);
      expect(stderr.match(/No GPU found/g)).toHaveLength(1);
    },
  );

  test.runIf(process.platform === "linux")("asked for a GPU that is not there, fails and says what to do", () => {
    const env = { VK_ICD_FILENAMES: "/none.json", VK_DRIVER_FILES: "", QWENCH_ADAPTER: "gpu" };
    const { status, stderr } = child("await openAdapter();", env);
    expect(status).toBe(1);
    expect(stderr).toContain("GpuError: Cannot open adapter gpu: Dawn found no usable GPU. Install");
  });
});
