import { requestGpu } from "../../../src/gpu/device.ts";
import { openBrowserAdapter } from "../../../src/platform/browser/browser.ts";

const platform = await openBrowserAdapter();
const gpu = await requestGpu(platform.adapter, { disable: platform.f16 ? [] : ["f16"] });
const tensor = gpu.upload(new Float32Array([1, 2]), [2], "f32", "two numbers", "scratch");
const back = await gpu.readF32(tensor);
self.postMessage({ adapter: platform.describe, software: platform.software, sum: back[0] + back[1] });
