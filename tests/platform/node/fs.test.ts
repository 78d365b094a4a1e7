import { execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  promises as fs,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FormatError, NotFoundError, QwenchError } from "../../../src/errors.ts";
import { type AppendableFolder, memoryFolder } from "../../../src/io/memory-folder.ts";
import { nodeFile, nodeFolder } from "../../../src/platform/node/fs.ts";
import { HOST_TAG } from "../../../src/platform/node/lock.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "node-fs-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const text = (s: string) => new TextEncoder().encode(s);
async function* parts(...list: string[]) {
  for (const part of list) yield text(part);
}

describe.each<[string, () => AppendableFolder]>([
  ["nodeFolder", () => nodeFolder(join(root, "new"))],
  ["memoryFolder", () => memoryFolder("m")],
])("%s", (_name, make) => {
  it("writes, reads, lists, renames and removes", async () => {
    const folder = make();
    expect(await folder.list()).toEqual([]);
    expect(await folder.folders()).toEqual([]);
    expect(await folder.exists("a.txt")).toBe(false);
    await folder.write("b.txt", "béta");
    await folder.write("a.txt", parts("al", "pha"));
    await folder.write("sub/deep/c.bin", new Uint8Array([1, 2, 3, 4]));
    expect(await folder.list()).toEqual(["a.txt", "b.txt"]);
    expect(await folder.folders()).toEqual(["sub"]);
    expect(await folder.readText("a.txt")).toBe("alpha");
    expect(await folder.readText("b.txt")).toBe("béta");
    const source = await folder.folder("sub").open("deep/c.bin");
    expect(source.size).toBe(4);
    expect([...(await source.read(1, 3))]).toEqual([2, 3]);
    expect((await source.read(4, 4)).length).toBe(0);
    await folder.rename("b.txt", "a.txt");
    expect(await folder.list()).toEqual(["a.txt"]);
    expect(await folder.readText("a.txt")).toBe("béta");
    await folder.rename("sub", "moved");
    expect(await folder.folders()).toEqual(["moved"]);
    expect(await folder.folder("moved").folder("deep").list()).toEqual(["c.bin"]);
    await folder.append("log", "1\n");
    await folder.append("log", "2\n");
    await folder.appendBytes("log", text("3\n"));
    expect(await folder.readText("log")).toBe("1\n2\n3\n");
    await folder.remove("log");
    await folder.remove("log");
    expect(await folder.exists("log")).toBe(false);
    await folder.removeFolder("moved");
    await folder.removeFolder("moved");
    expect(await folder.folders()).toEqual([]);
  });

  it.each(["../x", "/x", "a/../../x", "a//b", ".", "", "a\\b", "C:x", "a\0b", "./a"])(
    "refuses the name %j everywhere",
    async (name) => {
      const folder = make();
      await expect(folder.write(name, "x")).rejects.toThrow(FormatError);
      await expect(folder.open(name)).rejects.toThrow(FormatError);
      await expect(folder.readText(name)).rejects.toThrow(FormatError);
      await expect(folder.exists(name)).rejects.toThrow(FormatError);
      await expect(folder.append(name, "x")).rejects.toThrow(FormatError);
      await expect(folder.appendBytes(name, text("x"))).rejects.toThrow(FormatError);
      await expect(folder.remove(name)).rejects.toThrow(FormatError);
      await expect(folder.rename(name, "y")).rejects.toThrow(FormatError);
      await expect(folder.removeFolder(name)).rejects.toThrow(FormatError);
      expect(() => folder.folder(name)).toThrow(FormatError);
      await folder.write("a", "1");
      await expect(folder.rename("a", name)).rejects.toThrow(FormatError);
    },
  );

  it("reports missing files, binary content, and reads past the end", async () => {
    const folder = make();
    await expect(folder.open("no.bin")).rejects.toThrow(NotFoundError);
    await expect(folder.readText("no.bin")).rejects.toThrow(/no\.bin/);
    await expect(folder.rename("no.bin", "x")).rejects.toThrow(NotFoundError);
    await folder.write("bytes", new Uint8Array([0xff, 0xfe, 0x00]));
    await expect(folder.readText("bytes")).rejects.toThrow(/not UTF-8/);
    const source = await folder.open("bytes");
    await expect(source.read(1, 4)).rejects.toThrow(FormatError);
    await expect(source.read(-1, 1)).rejects.toThrow(FormatError);
    await expect(source.read(2, 1)).rejects.toThrow(FormatError);
    await expect(source.read(0, Number.NaN)).rejects.toThrow(FormatError);
  });

  it("keeps the old file if writing the new one fails", async () => {
    const folder = make();
    await folder.write("keep", "old");
    async function* broken() {
      yield text("ne");
      throw new FormatError("the source broke");
    }
    await expect(folder.write("keep", broken())).rejects.toThrow("the source broke");
    expect(await folder.readText("keep")).toBe("old");
    expect(await folder.list()).toEqual(["keep"]);
  });
});

describe("nodeFolder", () => {
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });

  it("leaves no temporary file, and keeps the old one, when the disk is full", async () => {
    const folder = nodeFolder(root);
    await folder.write("keep", "old");
    const open = fs.open.bind(fs);
    vi.spyOn(fs, "open").mockImplementation(async (...args) => {
      const handle = await open(...args);
      if (String(args[0]).endsWith(".qwench-tmp")) vi.spyOn(handle, "write").mockRejectedValue(full);
      return handle;
    });
    const writing = folder.write("keep", "new");
    await expect(writing).rejects.toThrow(QwenchError);
    await expect(writing).rejects.toThrow(/keep: the disk is full \(ENOSPC\); nothing was overwritten/);
    vi.restoreAllMocks();
    expect(readFileSync(join(root, "keep"), "utf8")).toBe("old");
    expect(readdirSync(root)).toEqual(["keep"]);
  });

  it("reads a text as it was at one moment, though another process replaces it meanwhile", async () => {
    const folder = nodeFolder(root);
    await folder.write("log", "old, and longer");
    const open = fs.open.bind(fs);
    vi.spyOn(fs, "open").mockImplementationOnce(async (...args) => {
      const handle = await open(...args);
      writeFileSync(join(root, "new"), "new");
      renameSync(join(root, "new"), join(root, "log"));
      return handle;
    });
    expect(await folder.readText("log")).toBe("old, and longer");
    expect(await folder.readText("log")).toBe("new");
  });

  it("says that a quota is full, which Node has no name for, and that anything else went wrong, in a sentence", async () => {
    const folder = nodeFolder(root);
    const refusing = (error: object) => vi.spyOn(fs, "appendFile").mockRejectedValueOnce(error);
    for (const errno of [-122, -69]) {
      const code = `Unknown system error ${errno}`;
      refusing(Object.assign(new Error(`${code}: ${code}, write`), { code, errno }));
      await expect(folder.append("log", "x")).rejects.toThrow(
        /^Cannot append to \S+log: this user's share of the disk is full/,
      );
    }
    refusing(Object.assign(new Error("EIO: i/o error, write"), { code: "EIO", errno: -5 }));
    const failed = folder.append("log", "x");
    await expect(failed).rejects.toThrow(QwenchError);
    await expect(failed).rejects.toThrow(/^Cannot append to \S+log: EIO: i\/o error, write$/);
  });

  it.skipIf(!existsSync("/dev/full"))("says that the disk is full when a log cannot grow", async () => {
    symlinkSync("/dev/full", join(root, "log"));
    await expect(nodeFolder(root).append("log", "line\n")).rejects.toThrow(/the disk is full/);
  });

  it("leaves no half line in a log that cannot grow", async () => {
    const folder = nodeFolder(root);
    await folder.append("log", "one\n");
    vi.spyOn(fs, "appendFile").mockImplementation(async (path) => {
      writeFileSync(String(path), "one\ntw");
      throw full;
    });
    await expect(folder.append("log", "two\n")).rejects.toThrow(/log: the disk is full/);
    expect(readFileSync(join(root, "log"), "utf8")).toBe("one\n");
  });

  it("hides temporary files, and removes those of dead processes", async () => {
    const folder = nodeFolder(root);
    const dead = join(root, ".w.bin.999999999-abc.qwench-tmp");
    const fresh = join(root, ".w.bin.999999998-abc.qwench-tmp");
    const alive = join(root, `.w.bin.${process.pid}-abc.qwench-tmp`);
    const ownDead = join(root, `.w.bin.999999997-${HOST_TAG}abc.qwench-tmp`);
    for (const path of [dead, fresh, alive, ownDead]) writeFileSync(path, "half");
    const old = Date.now() / 1000 - 3600;
    utimesSync(dead, old, old);
    utimesSync(alive, old, old);
    expect(await folder.list()).toEqual([]);
    await folder.write("w.bin", "whole");
    expect(existsSync(dead)).toBe(false);
    expect(existsSync(fresh)).toBe(true);
    expect(existsSync(alive)).toBe(true);
    expect(existsSync(ownDead)).toBe(false); // at once: a process that starts again may write this name only once
    expect(await folder.list()).toEqual(["w.bin"]);
  });

  it("keeps the old file intact if the process is killed during a write", async () => {
    writeFileSync(join(root, "w.bin"), "old and whole");
    const script = join(root, "writer.mjs");
    const module = JSON.stringify(new URL("../../../src/platform/node/fs.ts", import.meta.url).href);
    writeFileSync(
      script,
      `import { nodeFolder } from ${module};
      async function* slow() { for (;;) { yield new Uint8Array(65536); await new Promise((r) => setTimeout(r, 5)); } }
      await nodeFolder(${JSON.stringify(root)}).write("w.bin", slow());`,
    );
    const child = spawn(process.execPath, ["--import", "tsx", script], { stdio: "ignore" });
    const started = () => readdirSync(root).some((name) => name.endsWith(".qwench-tmp"));
    await expect.poll(started).toBe(true);
    child.kill("SIGKILL");
    await new Promise((r) => child.once("exit", r));
    expect(readFileSync(join(root, "w.bin"), "utf8")).toBe("old and whole");
    expect(await nodeFolder(root).list()).toEqual(["w.bin", "writer.mjs"]);
  });

  it("reads through links, as Hugging Face's cache has them", async () => {
    mkdirSync(join(root, "blobs"));
    writeFileSync(join(root, "blobs/abc"), "{}");
    symlinkSync("blobs/abc", join(root, "config.json"));
    symlinkSync("nowhere", join(root, "dangling"));
    const folder = nodeFolder(root);
    expect(await folder.list()).toEqual(["config.json"]);
    expect(await folder.readText("config.json")).toBe("{}");
  });

  it("does not remove the contents of a linked folder", async () => {
    mkdirSync(join(root, "precious"));
    writeFileSync(join(root, "precious/a"), "1");
    symlinkSync("precious", join(root, "link"));
    await nodeFolder(root).removeFolder("link");
    expect(readdirSync(root)).toEqual(["precious"]);
    expect(readdirSync(join(root, "precious"))).toEqual(["a"]);
  });
});

describe("nodeFile", () => {
  it("refuses folders", async () => {
    await expect(nodeFile(root)).rejects.toThrow(/is not a file/);
  });

  it.skipIf(process.platform === "win32")("refuses pipes at once", async () => {
    execFileSync("mkfifo", [join(root, "pipe")]);
    await expect(nodeFile(join(root, "pipe"))).rejects.toThrow(NotFoundError);
  });

  it("reports a file that shrinks after it was opened", async () => {
    const path = join(root, "f");
    writeFileSync(path, "0123456789");
    const source = await nodeFile(path);
    truncateSync(path, 4);
    await expect(source.read(0, 10)).rejects.toThrow(/ends at 4, but had 10 bytes when opened/);
    expect([...(await source.read(0, 4))]).toEqual([...text("0123")]);
  });

  it("reports an unreadable folder", async () => {
    writeFileSync(join(root, "x"), "x");
    await expect(nodeFile(join(root, "x", "y"))).rejects.toThrow(NotFoundError);
  });
});
