import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readTar, unpackSwiftShader } from "../../../src/platform/node/swiftshader.ts";
import { adviceFor, hasVulkanDriver, installMesa, mesaAdvice } from "../../../src/platform/node/vulkan.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "qwench-swiftshader-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A tar entry: header with checksum, content, padding to 512. */
function entry(name: string, content: string, type = "0"): Uint8Array {
  const bytes = new Uint8Array(512 + Math.ceil(content.length / 512) * 512);
  const put = (at: number, text: string) => bytes.set(new TextEncoder().encode(text), at);
  put(0, name);
  put(124, content.length.toString(8).padStart(11, "0"));
  put(156, type);
  bytes.fill(32, 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  put(512, content);
  return bytes;
}

const archive = (...entries: Uint8Array[]) => new Uint8Array(Buffer.concat([...entries, new Uint8Array(1024)]));
const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);

describe("tar", () => {
  test("gives files by name, odd sizes and folders included", () => {
    const files = readTar(archive(entry("lib/", "", "5"), entry("lib/a.txt", "x".repeat(513)), entry("b", "")));
    expect([...files.keys()]).toEqual(["a.txt", "b"]);
    expect(text(files.get("a.txt"))).toBe("x".repeat(513));
    expect(text(files.get("b"))).toBe("");
  });

  test("refuses a damaged header and an archive that ends early", () => {
    const damaged = archive(entry("a", "hello"));
    damaged[0] ^= 1;
    expect(() => readTar(damaged)).toThrow(/header at byte 0 sums to \d+, states \d+/);
    expect(() => readTar(entry("a", "x".repeat(600)).subarray(0, 1024))).toThrow("ends at 1112, the archive at 1024");
  });
});

const carried = process.platform === "linux" && process.arch === "x64";

test.skipIf(carried)("SwiftShader is refused where its binaries do not run", () => {
  expect(() => unpackSwiftShader(folder)).toThrow("its binaries are for linux x64");
});

test.runIf(carried)("SwiftShader is unpacked once, whole, and repaired when it is not", () => {
  const { manifest, loader } = unpackSwiftShader(folder);
  const { library_path: driver } = JSON.parse(readFileSync(manifest, "utf8")).ICD as Record<string, string>;
  const library = join(manifest, "..", driver);
  for (const path of [library, loader]) expect(readFileSync(path).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
  expect(readdirSync(folder)).toHaveLength(1); // no temporary folder left

  const before = statSync(library);
  unpackSwiftShader(folder);
  expect(statSync(library).ino).toBe(before.ino);

  rmSync(loader);
  unpackSwiftShader(folder);
  expect(existsSync(loader)).toBe(true);
  expect(readdirSync(folder)).toHaveLength(1);
});

test("a Vulkan driver is found where the loader looks", () => {
  const nowhere = { HOME: folder, XDG_DATA_DIRS: folder, XDG_CONFIG_DIRS: folder };
  const manifest = join(folder, "vulkan/icd.d/some_icd.json");
  expect(hasVulkanDriver({ ...nowhere, VK_ICD_FILENAMES: manifest })).toBe(false);
  mkdirSync(join(manifest, ".."), { recursive: true });
  writeFileSync(manifest, "{}");
  expect(hasVulkanDriver(nowhere)).toBe(true);
  expect(hasVulkanDriver({ VK_DRIVER_FILES: `/none.json:${manifest}` })).toBe(true);
  expect(hasVulkanDriver({ VK_DRIVER_FILES: "/none.json", VK_ICD_FILENAMES: manifest })).toBe(false);
});

test("the advice is one line with the command of the system at hand", () => {
  const bookworm = 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n';
  expect(mesaAdvice(bookworm)).toContain("apt-get install -y -t bookworm-backports mesa-vulkan-drivers libvulkan1");
  expect(mesaAdvice(bookworm)).not.toContain("\n");
  expect(installMesa("ID=debian\nVERSION_CODENAME=trixie\n")).not.toContain("backports");
  expect(installMesa('ID=linuxmint\nID_LIKE="ubuntu debian"\n')).toContain("sudo apt-get install");
  expect(installMesa("ID=fedora\n")).toContain("sudo dnf install");
  expect(installMesa("")).toContain("Mesa's Vulkan drivers");

  const swiftshader = { architecture: "swiftshader", description: "SwiftShader driver 5.0.0" } as GPUAdapterInfo;
  const gpu = { architecture: "hopper", description: "NVIDIA H200" } as GPUAdapterInfo;
  expect(adviceFor("auto", swiftshader)).toContain("No GPU found");
  expect(adviceFor("swiftshader", swiftshader)).toBeNull();
  expect(adviceFor("auto", gpu)).toBeNull();
});
