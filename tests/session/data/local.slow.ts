import { expect, it } from "vitest";
import { useGpu } from "../../kernels/harness.ts";
import { unparsed } from "./local.ts";

const gpu = useGpu();

it("1,000 replies of the embedded model under the grammar all parse", async () => {
  const began = performance.now();
  expect(await unparsed(gpu(), 1000, 64)).toEqual([]);
  console.log(`1,000 of 1,000 replies parse, in ${((performance.now() - began) / 1000).toFixed(0)} s`);
});
