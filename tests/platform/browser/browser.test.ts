import { afterEach, expect, test, vi } from "vitest";
import { openBrowserAdapter } from "../../../src/platform/browser/browser.ts";

afterEach(() => vi.unstubAllGlobals());

/** A navigator whose adapter is described as given, without features. */
function navigatorWith(description: string | null): Pick<Navigator, "gpu"> {
  const info = { vendor: "", architecture: "", device: "", description, isFallbackAdapter: false };
  const adapter = description === null ? null : { info, features: new Set(), limits: {} };
  return { gpu: { requestAdapter: async () => adapter } as unknown as GPU };
}

test("an adapter is described, and a slow one comes with advice", async () => {
  const quick = await openBrowserAdapter(navigatorWith("Apple M3"));
  expect(quick).toMatchObject({ name: "browser", software: false, f16: false, advice: null, describe: "Apple M3" });
  const slow = await openBrowserAdapter(navigatorWith("SwiftShader Device"));
  expect(slow).toMatchObject({ software: true, describe: "SwiftShader Device (software)" });
  expect(slow.advice).toContain("hardware acceleration");
});

test("what is missing is named", async () => {
  await expect(openBrowserAdapter({} as Navigator)).rejects.toThrow(
    "this browser does not support it. Chrome 113, Edge 113",
  );
  await expect(openBrowserAdapter(undefined)).rejects.toThrow("this browser does not support it");
  await expect(openBrowserAdapter(navigatorWith(null))).rejects.toThrow("found no usable GPU");
  vi.stubGlobal("isSecureContext", false);
  vi.stubGlobal("location", new URL("http://192.168.1.7:4173/page"));
  await expect(openBrowserAdapter(navigatorWith("Apple M3"))).rejects.toMatchObject({
    name: "GpuError",
    message:
      "Cannot train on this page: browsers offer WebGPU and storage only to pages from https:// or localhost, and this page came from http://192.168.1.7:4173; " +
      "serve it over https, or open http://localhost:8000/ after ssh -L 8000:localhost:4173 192.168.1.7",
  });
});

test("asks a browser twice whose GPU process is just starting", async () => {
  const { gpu } = navigatorWith("Apple M3") as unknown as { gpu: GPU };
  let asked = 0;
  const late = async () => (++asked === 1 ? null : gpu.requestAdapter());
  const platform = await openBrowserAdapter({ gpu: { ...gpu, requestAdapter: late } } as unknown as Navigator);
  expect(platform.software).toBe(false);
  expect(asked).toBeGreaterThan(1);
});
