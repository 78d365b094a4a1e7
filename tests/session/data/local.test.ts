import { expect, it } from "vitest";
import { useGpu } from "../../kernels/harness.ts";
import { unparsed } from "./local.ts";

const gpu = useGpu();

it("24 replies of the embedded model under the grammar all parse", async () => {
  expect(await unparsed(gpu(), 24, 16)).toEqual([]);
});
