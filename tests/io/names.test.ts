import { describe, expect, it } from "vitest";
import { checkFileName } from "../../src/io/names.ts";

describe("checkFileName", () => {
  it.each([
    "config.json",
    "a/b/model-00001-of-00002.safetensors",
    "été/数.jsonl",
    "console.txt",
    "x.aux",
    "com10",
    `${"a".repeat(255)}`,
  ])("takes %.40s", (name) => expect(checkFileName(name, "d")).toBe(name));

  it.each([
    ["a".repeat(256), "at most 255 bytes"],
    [`d/${"é".repeat(128)}`, "at most 255 bytes"],
    ["aux.json", '"aux.json" is the name of a device on Windows'],
    ["d/CON", "device"],
    ["lpt1.tar.gz", "device"],
    ["a.", "end with a dot"],
    ["a /b", "end with a dot or a space"],
    ["a\u0007b", "names must be relative"],
    ["a\u007fb", "names must be relative"],
    ["a\u0085b", "names must be relative"],
    ["../a", "names must be relative"],
  ])("refuses %.40j by name", (name, why) => {
    expect(() => checkFileName(name, "the hub's listing")).toThrow(why);
    expect(() => checkFileName(name, "the hub's listing")).toThrow("in the hub's listing");
  });
});
