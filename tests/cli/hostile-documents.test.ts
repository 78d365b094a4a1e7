import { afterAll, expect, test } from "vitest";
import { CASES } from "../../scripts/attack/document-cases.ts";
import { DocumentThread } from "../../src/cli/sources/document-thread.ts";
import { joinPages } from "../../src/data/documents/document.ts";
import { DataError } from "../../src/errors.ts";
import { cpuTime } from "../cpu-time.ts";

// The hostile documents that are quick to make. `npx tsx scripts/attack/documents.ts` has all, with their memory.

const LARGE = /^(100mb|flate|operators|nested|attributes|comment|cues|huge|declared-small|noise|deep)/;
const thread = new DocumentThread();
afterAll(() => thread.close());

test.each(CASES.filter(([name]) => !LARGE.test(name)))("%s", async (source, make, wanted) => {
  const spent = cpuTime();
  const request = { bytes: make(), source, type: null, cmaps: null, article: source.endsWith(".html") };
  const read = await thread.read(request).catch((error) => error);
  expect(spent()).toBeLessThan(10);
  if (read instanceof Error) {
    expect(read).toBeInstanceOf(DataError);
    expect(read.message).toMatch(/^Cannot (read|use) /);
    expect(wanted).not.toBe("text");
  } else {
    expect(joinPages(read.pages).text).not.toMatch(/root:.*:0:0/);
    expect(wanted).not.toBe("error");
  }
});
