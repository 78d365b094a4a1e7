import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const deno = createRequire(import.meta.url).resolve("deno/bin.cjs");
const platform = new URL("../../../src/platform/index.ts", import.meta.url).href;

const PROGRAM = `
import { openAdapter } from ${JSON.stringify(platform)};
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { readFileSync } from "node:fs";
import { parse } from "yaml";

try {
  const { name, adapter, software, f16, advice, describe } = await openAdapter();
  const device = await adapter.requestDevice({ requiredFeatures: f16 ? ["shader-f16"] : [] });
  const code = wgsl\`
#if \${f16}
enable f16;
#endif
@group(0) @binding(0) var<storage, read_write> values: array<u32>;
@compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { values[i] = i * i + 1u; }\`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  const values = device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const staging = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = [{ binding: 0, resource: { buffer: values } }];
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(values, 0, staging, 0, 16);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const got = [...new Uint32Array(staging.getMappedRange())];
  const files = [readFileSync("package.json", "utf8").length > 0, parse("a: [1, 2]").a.length];
  console.log(JSON.stringify({ name, software, f16, advised: advice !== null, describe, got, files }));
  device.destroy();
} catch (error) {
  console.log(JSON.stringify({ error: error.name + ": " + error.message }));
}
`;

/** Runs PROGRAM under Deno in the repository, with its deno.json and node_modules; the object that it prints. */
function denoSays(env: Record<string, string>) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [deno, "run", "--no-check", "-A", "--ext=ts", "-"], {
    cwd: root,
    input: PROGRAM,
    encoding: "utf8",
    timeout: 600_000,
    env: { ...process.env, NO_COLOR: "1", ...env },
  });
  expect(status, stderr).toBe(0);
  return { said: JSON.parse(stdout), stderr };
}

describe("Deno", () => {
  test("opens an adapter, computes, and shares the source and the packages", () => {
    const { said } = denoSays({});
    expect(said).toMatchObject({ name: "deno", got: [1, 2, 5, 10], files: [true, 2] });
    expect(said.describe).not.toBe("");
  });

  test.runIf(process.platform === "linux" && process.arch === "x64")(
    "falls back to SwiftShader where no driver is installed, with one line of advice",
    () => {
      const { said, stderr } = denoSays({
        VK_ICD_FILENAMES: "/none.json",
        VK_DRIVER_FILES: "",
        QWENCH_ADAPTER: "auto",
      });
      expect(said).toMatchObject({ software: true, f16: false, advised: true, got: [1, 2, 5, 10] });
      expect(said.describe).toContain("SwiftShader");
      expect(stderr.match(/No GPU found/g)).toHaveLength(1);
    },
  );

  test.runIf(process.platform === "linux")("asked for a GPU that is not there, fails and says what to do", () => {
    const { said } = denoSays({ VK_ICD_FILENAMES: "/none.json", VK_DRIVER_FILES: "", QWENCH_ADAPTER: "gpu" });
    expect(said.error).toContain("GpuError: Cannot open adapter gpu: no Vulkan driver is installed. Install the GPU's");
  });
});
