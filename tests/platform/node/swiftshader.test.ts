import { createHash } from "node:crypto";
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
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fetchPackage, type NpmPackage } from "../../../src/platform/node/npm-package.ts";
import { readTar, unpackSwiftShader } from "../../../src/platform/node/swiftshader.ts";
import { adviceFor, hasVulkanDriver, installMesa, mesaAdvice } from "../../../src/platform/node/vulkan.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "qwench-swiftshader-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A tar entry: header with checksum, content, padding to 512. */
function entry(name: string, data: string | Uint8Array, type = "0"): Uint8Array {
  const content = Buffer.from(data);
  const bytes = new Uint8Array(512 + Math.ceil(content.length / 512) * 512);
  const put = (at: number, text: string) => bytes.set(new TextEncoder().encode(text), at);
  put(0, name);
  put(124, content.length.toString(8).padStart(11, "0"));
  put(156, type);
  bytes.fill(32, 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  bytes.set(content, 512);
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

const here = process.platform === "linux" && process.arch === "x64";

test.skipIf(here)("SwiftShader is for Linux on x64", async () => {
  await expect(unpackSwiftShader()).rejects.toThrow("its binaries are for linux x64");
});

test.skipIf(!here)("SwiftShader is unpacked once, whole, and repaired when it is not", async () => {
  const { manifest, loader } = await unpackSwiftShader({ cache: folder });
  const { library_path: driver } = JSON.parse(readFileSync(manifest, "utf8")).ICD as Record<string, string>;
  const library = join(manifest, "..", driver);
  for (const path of [library, loader]) expect(readFileSync(path).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
  expect(readdirSync(folder)).toHaveLength(1); // no temporary folder left

  const before = statSync(library);
  await unpackSwiftShader({ cache: folder });
  expect(statSync(library).ino).toBe(before.ino);

  rmSync(loader);
  await unpackSwiftShader({ cache: folder });
  expect(existsSync(loader)).toBe(true);
  expect(readdirSync(folder)).toHaveLength(1);
});

test.skipIf(!here)(
  "where its package is not installed, SwiftShader is fetched once, by all who need it at a time",
  async () => {
    const files = ["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"];
    const inner = brotliCompressSync(archive(...files.map((name) => entry(name, `the bytes of ${name}`))));
    const tarball = gzipSync(archive(entry("package/bin/swiftshader.tar.br", inner)));
    const lines: string[] = [];
    let downloads = 0;
    const options = {
      cache: folder,
      installed: null,
      warn: (line: string) => lines.push(line),
      async download({ name }: NpmPackage) {
        downloads++;
        expect(name).toBe("@sparticuz/chromium");
        return tarball;
      },
    };
    const [first, second] = await Promise.all([unpackSwiftShader(options), unpackSwiftShader(options)]);
    expect(readFileSync(first.loader, "utf8")).toBe("the bytes of libvulkan.so.1");
    expect(second).toEqual(first);
    await unpackSwiftShader(options);
    expect(downloads).toBe(1);
    expect(lines[0]).toMatch(
      /^No Vulkan driver, or no loader, found: fetching SwiftShader, a software renderer, once \(65 MB/,
    );
    expect(readdirSync(folder)).toHaveLength(1); // no lock left
  },
);

describe("a package of npm's", () => {
  const tarball = gzipSync(archive(entry("package/package.json", '{"name": "@some/thing", "version": "1.2.3"}')));
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
  const wanted = { name: "@some/thing", version: "1.2.3", integrity };
  let asked: string[];
  let registry: Server;
  let url: string;
  beforeEach(async () => {
    asked = [];
    registry = createServer((request, response) => {
      asked.push(decodeURIComponent(request.url ?? ""));
      if (request.url?.endsWith(".tgz")) return response.end(tarball);
      const dist = { tarball: `${url}/@some/thing/-/thing-1.2.3.tgz`, integrity };
      const versions = { "1.2.3": { name: "@some/thing", version: "1.2.3", dist } };
      response.end(JSON.stringify({ name: "@some/thing", "dist-tags": { latest: "1.2.3" }, versions }));
    });
    await new Promise<void>((resolve) => registry.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`;
  });
  afterEach(() => registry.close());
  const env = (more: Record<string, string> = {}) => ({
    PATH: process.env.PATH,
    npm_config_registry: url,
    npm_config_cache: join(folder, "npm"),
    ...more,
  });

  test("comes by npm, from the user's registry", async () => {
    expect(await fetchPackage(wanted, env())).toEqual(new Uint8Array(tarball));
    expect(asked).toContain("/@some/thing"); // npm asks for the package before the tarball
  });

  test("comes by a plain request where there is no npm", async () => {
    expect(await fetchPackage(wanted, env({ PATH: folder }))).toEqual(new Uint8Array(tarball));
    expect(asked).toEqual(["/@some/thing/-/thing-1.2.3.tgz"]);
  });

  test("is refused with another hash, and where neither way leads there, with both reasons", async () => {
    const other = { ...wanted, integrity: "sha512-AAAA" };
    await expect(fetchPackage(other, env({ PATH: folder }))).rejects.toThrow("must be sha512-AAAA");
    registry.close();
    registry.closeAllConnections();
    await expect(fetchPackage(wanted, env({ npm_config_fetch_retries: "0" }))).rejects.toThrow(
      /^Cannot fetch @some\/thing 1\.2\.3 from npm: npm says: .*; http:.*ECONNREFUSED.*Install it yourself.*npm install @some\/thing@1\.2\.3$/,
    );
  });

  test("is not asked for offline", async () => {
    await expect(fetchPackage(wanted, env({ HF_HUB_OFFLINE: "1" }))).rejects.toThrow(/HF_HUB_OFFLINE is set\. Install/);
    expect(asked).toEqual([]);
  });
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
