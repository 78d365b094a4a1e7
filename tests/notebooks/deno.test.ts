import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { type Output, startDenoKernel } from "../../scripts/deno-kernel.ts";
import { drawn } from "./deno.ts";
import { readNotebook } from "./notebook.ts";

test("the Deno notebook shows what such a run drew", () => {
  const figures = readNotebook("deno.ipynb").flatMap(({ outputs }) => drawn((outputs ?? []) as Output[]));
  expect(figures.map((svg) => /font-weight="600">([^<]+)</.exec(svg)?.[1])).toEqual(["Loss", "Reward"]);
});

test("an error in a cell is told, and the kernel goes on", async () => {
  const kernel = await startDenoKernel(tmpdir());
  try {
    expect(await kernel.run(`throw new TypeError("meant")`)).toMatchObject([
      { output_type: "error", ename: "TypeError" },
    ]);
    expect(await kernel.run(`console.log("a".repeat(300)); 1 + 1`)).toMatchObject([
      { output_type: "stream", text: `${"a".repeat(300)}\n` },
      { output_type: "execute_result", data: { "text/plain": expect.stringContaining("2") } },
    ]);
  } finally {
    kernel.close();
  }
});
