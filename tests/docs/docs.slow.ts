import { describe, expect, test } from "vitest";
import { blocksOf, pages } from "./blocks.ts";
import { follow, runsIn } from "./run.ts";

describe.each(pages.filter((page) => blocksOf(page).some((block) => runsIn(block, true))))("%s", (page) => {
  test("its slow marked blocks run", async () => expect(await follow(page, true)).toEqual([]), 1_800_000);
});
