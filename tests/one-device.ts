import { reuseGpu } from "../src/cli/runs/open-gpu.ts";
import { sharedDevice } from "./kernels/harness.ts";

// Commands that a test runs in its own process use the process's device: each kernel is compiled once for all test files.
reuseGpu(sharedDevice);
