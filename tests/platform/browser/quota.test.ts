import { afterEach, expect, test, vi } from "vitest";
import { explainStorage } from "../../../src/platform/browser/quota.ts";

afterEach(() => vi.unstubAllGlobals());

const refused = new DOMException("", "QuotaExceededError");
const stated = (usage: number, quota: number) =>
  vi.stubGlobal("navigator", { storage: { estimate: async () => ({ usage, quota }) } });

test("a full storage is told with what is needed and what is free", async () => {
  stated(9.9e9, 10e9);
  const said = (await explainStorage(refused, "write a/b", 500e6)) as Error;
  expect(said.name).toBe("QuotaError");
  expect(said.message).toContain("is full. 500 MB are needed, but only 100 MB of 10 GB are free");
});

test("a refusal within what the browser states as free is not called full", async () => {
  stated(1e9, 10e9);
  const said = (await explainStorage(refused, "write a/b", 500e6)) as Error;
  expect(said.name).toBe("QuotaError");
  expect(said.message).toContain(
    "refused to store 500 MB more, although it reports 9.0 GB of 10 GB as free. The disk may be full",
  );
});
