import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { embeddedModelFolder } from "../../src/cli/sources/embedded-folder.ts";

describe("the embedded model's folder", () => {
  const root = mkdtempSync(join(tmpdir(), "qwench-embedded-"));
  const at = (file: string) => pathToFileURL(join(root, file)).href;

  it("is found from the source tree and from the built program", () => {
    mkdirSync(join(root, "assets/tiny"), { recursive: true });
    writeFileSync(join(root, "assets/tiny/config.json"), "{}");
    for (const file of ["src/cli/sources/embedded-folder.ts", "dist/cli.js"]) {
      expect(embeddedModelFolder(at(file))).toBe(join(root, "assets/tiny"));
    }
  });

  it("lists the searched places if it is missing", () => {
    expect(() => embeddedModelFolder("file:///nowhere/dist/cli.js")).toThrow(/\/nowhere\/assets\/tiny/);
  });
});
