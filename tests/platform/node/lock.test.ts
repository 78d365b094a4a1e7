import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  promises as fs,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { exclusively, forgetDead } from "../../../src/io/storage.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";

let root: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lock-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});

const lock = async (what = "test") => nodeFolder(root).lock("run", what);

/** A process that takes the lock and holds it until it is ended; resolves once it has it. */
async function holder(): Promise<ChildProcess> {
  const module = JSON.stringify(new URL("../../../src/platform/node/fs.ts", import.meta.url).href);
  const script = join(root, "holder.mts");
  writeFileSync(
    script,
    `import { nodeFolder } from ${module};
    const lock = await nodeFolder(${JSON.stringify(root)}).lock("run", "hold");
    console.log("release" in lock ? "held" : "refused");
    setInterval(() => {}, 1000);`,
  );
  const child = spawn(process.execPath, ["--import", "tsx", script], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const said = await new Promise<string>((done) => child.stdout!.once("data", (data) => done(String(data))));
  expect(said.trim()).toBe("held");
  return child;
}

describe("a lock of a folder", () => {
  it("belongs to one process, by its id, until it is released", async () => {
    const first = await lock("train");
    expect("release" in first).toBe(true);
    expect(await lock()).toMatchObject({ owner: { id: String(process.pid), host: hostname(), what: "train" } });
    if ("release" in first) await first.release();
    expect(readdirSync(root)).toEqual([]);
    expect("release" in (await lock())).toBe(true);
  });

  it("is refused while another process lives, and taken over after it was killed", async () => {
    const child = await holder();
    expect(await lock()).toMatchObject({ owner: { id: String(child.pid), what: "hold" } });
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await ended;
    expect(existsSync(join(root, "run.lock"))).toBe(true);
    expect("release" in (await lock())).toBe(true);
    expect(JSON.parse(readFileSync(join(root, "run.lock"), "utf8")).id).toBe(String(process.pid));
  });

  it("of another host expires by its last update", async () => {
    const path = join(root, "run.lock");
    writeFileSync(path, JSON.stringify({ id: "1", host: "elsewhere", what: "train", began: "" }));
    expect(await lock()).toMatchObject({ owner: { host: "elsewhere" } });
    const old = Date.now() / 1000 - 120;
    utimesSync(path, old, old);
    expect("release" in (await lock())).toBe(true);
  });

  it.skipIf(!existsSync("/proc/self/stat"))("of a process whose id another has by now is taken over", async () => {
    const path = join(root, "run.lock");
    writeFileSync(path, JSON.stringify({ id: String(process.pid), host: hostname(), what: "old", began: "1" }));
    expect("release" in (await lock())).toBe(true);
  });

  it("that names nobody is being written; 15 s later its writer was killed in the middle of it", async () => {
    const path = join(root, "run.lock");
    writeFileSync(path, "");
    expect(await lock()).toMatchObject({ owner: { id: "?" } });
    const old = Date.now() / 1000 - 16;
    utimesSync(path, old, old);
    expect("release" in (await lock())).toBe(true);
  });

  it("of a dead owner is taken over although a process was killed while it removed the lock", async () => {
    const path = join(root, "run.lock");
    const dead = JSON.stringify({ id: "999999999", host: hostname(), what: "dead", began: "" });
    writeFileSync(path, dead);
    writeFileSync(`${path}.removing`, dead);
    expect("release" in (await lock())).toBe(true);
    expect(readdirSync(root)).toEqual(["run.lock"]);
  });

  it("appears with its owner's name in it, or not at all, and where there are no hard links as well", async () => {
    const seen: unknown[] = [];
    const link = fs.link.bind(fs);
    const spy = vi.spyOn(fs, "link").mockImplementation(async (from, to) => {
      seen.push(existsSync(join(root, "run.lock")), JSON.parse(readFileSync(from, "utf8")).id);
      await link(from, to);
    });
    writeFileSync(join(root, ".run.lock.999999999-abc.qwench-tmp"), "{"); // of a process that was killed
    const first = await lock();
    expect(seen).toEqual([false, String(process.pid)]);
    expect(readdirSync(root)).toEqual(["run.lock"]);
    if ("release" in first) await first.release();
    spy.mockRejectedValue(Object.assign(new Error("EPERM"), { code: "EPERM" }));
    expect("release" in (await lock())).toBe(true);
    expect(readdirSync(root)).toEqual(["run.lock"]);
    vi.restoreAllMocks();
  });

  it("makes its folder again where who released it has just removed it", async () => {
    const folder = nodeFolder(join(root, "made"));
    const writeFile = fs.writeFile.bind(fs);
    vi.spyOn(fs, "writeFile").mockImplementationOnce(async (...args) => {
      rmSync(join(root, "made"), { recursive: true });
      return writeFile(...args);
    });
    expect("release" in (await folder.lock("run", "test"))).toBe(true);
    vi.restoreAllMocks();
  });

  it("of a dead owner is forgotten by who has no need of it; a living owner's stays", async () => {
    const folder = nodeFolder(root);
    await forgetDead(folder, "run");
    expect(readdirSync(root)).toEqual([]);
    const path = join(root, "run.lock");
    writeFileSync(path, JSON.stringify({ id: "999999999", host: hostname(), what: "dead", began: "" }));
    await forgetDead(folder, "run");
    expect(readdirSync(root)).toEqual([]);
    await lock("alive");
    await forgetDead(folder, "run");
    expect(readdirSync(root)).toEqual(["run.lock"]);
  });

  it("goes to one of twenty racing processes at a time", async () => {
    let inside = 0;
    let most = 0;
    const folder = nodeFolder(root);
    writeFileSync(
      join(root, "run.lock"),
      JSON.stringify({ id: "999999999", host: hostname(), what: "dead", began: "" }),
    );
    await Promise.all(
      Array.from({ length: 20 }, () =>
        exclusively(folder, "run", "race", async () => {
          most = Math.max(most, ++inside);
          await new Promise((done) => setTimeout(done, 1));
          inside--;
        }),
      ),
    );
    expect(most).toBe(1);
    expect(readdirSync(root)).toEqual([]);
  });
});
