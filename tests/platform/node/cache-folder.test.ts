import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { tuningStore } from "../../../src/cli/runs/tuning.ts";
import { homeFolder, usualCache, writableCache } from "../../../src/platform/node/cache-folder.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "qwench-cache-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

test("the cache lies where XDG says, else in the home", () => {
  expect(usualCache({ XDG_CACHE_HOME: "/c", HOME: "/h" })).toBe("/c/qwench");
  expect(usualCache({ HOME: "/h" })).toBe("/h/.cache/qwench");
  expect(writableCache({ HOME: folder })).toBe(join(folder, ".cache/qwench"));
});

test("where it cannot be made, files go to a private folder in the temporary one, and what it holds is read", async () => {
  vi.stubEnv("TMPDIR", join(folder, "tmp"));
  mkdirSync(join(folder, "tmp"));
  writeFileSync(join(folder, "file"), ""); // no folder can be made below a file, whoever asks
  const env = { XDG_CACHE_HOME: join(folder, "file/cache") };
  const temporary = join(folder, "tmp", `qwench-${process.getuid?.() ?? 0}`);
  expect(writableCache(env)).toBe(temporary);
  const store = tuningStore(env);
  await store.write("adapter", "{}");
  expect(await tuningStore(env).read("adapter")).toBe("{}");
  expect(await store.read("another")).toBeNull();

  chmodSync(temporary, 0o777); // anybody may put libraries there
  expect(() => writableCache(env)).toThrow(/^Cannot keep files: .*cannot be written, and .* belongs to another user$/);
});

test("a user that the machine does not know has no home, and that is no error", () => {
  const unknown = () => {
    throw new Error("uv_os_homedir returned ENOENT");
  };
  expect(homeFolder({}, unknown)).toBeNull();
  expect(homeFolder({ HOME: "/h" }, unknown)).toBe("/h");
});
