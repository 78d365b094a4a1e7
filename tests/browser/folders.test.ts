import type { Page, WebWorker } from "puppeteer-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { AppendableFolder } from "../../src/io/memory-folder.ts";
import type { IdbFolder } from "../../src/platform/browser/idb-folder.ts";
import { bundle, type Site, serve, useBrowser } from "./harness.ts";

declare global {
  /** of pages/folders.worker.ts */
  var folders: { idb(name: string): IdbFolder; opfs(name: string): AppendableFolder };
}

const web = useBrowser();
let site: Site;
let worker: WebWorker;
beforeAll(async () => {
  site = await serve(await bundle("tests/browser/pages/folders.ts"));
});
afterAll(() => site.close());
beforeEach(async () => {
  worker = await workerOf(await web.open(site.url));
});

async function workerOf(page: Page): Promise<WebWorker> {
  const worker = page.workers()[0] ?? (await new Promise<WebWorker>((found) => page.once("workercreated", found)));
  while (!(await worker.evaluate(() => "folders" in globalThis)));
  return worker;
}

describe.each(["opfs", "idb"] as const)("a folder of %s", (kind) => {
  test("keeps files: text, bytes, streams, appends, in folders", async () => {
    const found = await worker.evaluate(async (kind) => {
      const folder = folders[kind](`files-${kind}`);
      async function* stream() {
        const piece = new Uint8Array(3_000_000).fill(7); // used again, as some sources do
        for (let i = 0; i < 3; i++) {
          piece[0] = i;
          yield piece;
        }
      }
      await folder.write("text.txt", "grüße");
      await folder.write("deep/er/bytes.bin", Uint8Array.of(1, 2, 3));
      await folder.write("large.bin", stream());
      await folder.append("log.txt", "one\n");
      await folder.append("log.txt", "two\n");
      await folder.appendBytes("part.bin", new Uint8Array());
      await folder.appendBytes("part.bin", Uint8Array.of(9, 8));
      await folder.appendBytes("part.bin", Uint8Array.of(7));
      const large = await folder.open("large.bin");
      const part = await folder.open("part.bin");
      const range = await large.read(2_999_999, 6_000_001);
      return {
        list: await folder.list(),
        folders: await folder.folders(),
        text: await folder.readText("text.txt"),
        log: await folder.readText("log.txt"),
        deep: await folder.folder("deep").folder("er").list(),
        exists: [await folder.exists("text.txt"), await folder.exists("deep"), await folder.exists("none")],
        size: large.size,
        range: [range.length, range[0], range[1], range[3_000_001]],
        part: [...(await part.read(0, part.size))],
        empty: await folders[kind]("nothing").list(),
      };
    }, kind);
    expect(found).toEqual({
      list: ["large.bin", "log.txt", "part.bin", "text.txt"],
      folders: ["deep"],
      text: "grüße",
      log: "one\ntwo\n",
      deep: ["bytes.bin"],
      exists: [true, false, false],
      size: 9_000_000,
      range: [3_000_002, 7, 1, 2],
      part: [9, 8, 7],
      empty: [],
    });
  });

  test("replaces a file at once, or not at all", async () => {
    const found = await worker.evaluate(async (kind) => {
      const folder = folders[kind](`atomic-${kind}`);
      await folder.write("a", "old");
      async function* broken() {
        yield new Uint8Array(5_000_000);
        throw new Error("the source broke");
      }
      const error = await folder.write("a", broken()).catch((e: Error) => e.message);
      const kept = await folder.readText("a");
      await folder.write("a", "new");
      await folder.write("b", "other");
      await folder.rename("a", "b"); // replaces
      return { error, kept, list: await folder.list(), b: await folder.readText("b") };
    }, kind);
    expect(found).toMatchObject({
      kept: "old",
      list: ["b"],
      b: "new",
      error: expect.stringContaining("the source broke"),
    });
  });

  test("reports missing files, names outside the folder, and invalid ranges", async () => {
    const errors = await worker.evaluate(async (kind) => {
      const folder = folders[kind](`errors-${kind}`);
      await folder.write("a", "abc");
      const said = (work: Promise<unknown>) =>
        work.then(
          () => "it succeeded",
          (e: Error) => `${e.name}: ${e.message}`,
        );
      await folder.remove("none");
      await folder.removeFolder("none");
      return [
        await said(folder.open("none")),
        await said(folder.readText("none")),
        await said(folder.rename("none", "b")),
        await said(folder.write("../b", "x")),
        await said((await folder.open("a")).read(2, 9)),
      ];
    }, kind);
    expect(errors[0]).toMatch(/^NotFoundError: Cannot open .*errors-\w+\/none: there is no such file/);
    expect(errors[1]).toMatch(/^NotFoundError/);
    expect(errors[2]).toMatch(/^NotFoundError: Cannot rename .*none/);
    expect(errors[3]).toMatch(/^FormatError: .*stay inside/);
    expect(errors[4]).toMatch(/^FormatError: Cannot read bytes 2 to 9 of .*: it has 3/);
  });

  test("reports needed and free bytes if the quota is full, and keeps existing files", async () => {
    // an origin of its own: IndexedDB remembers for a while how much room there was
    const fresh = await serve(site.files);
    try {
      const page = await web.open("about:blank");
      const session = await page.createCDPSession();
      await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(fresh.url).origin, quotaSize: 6_000_000 });
      await page.goto(fresh.url);
      const found = await (await workerOf(page)).evaluate(async (kind) => {
        const folder = folders[kind]("full");
        await folder.write("kept", "here");
        const tried: string[] = [];
        const said = (work: Promise<unknown>) =>
          work.then(
            () => tried.push("it succeeded"),
            (e: Error) => tried.push(`${e.name}: ${e.message}`),
          );
        const bytes = new Uint8Array(30_000_000); // of random ones: IndexedDB compresses
        for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
        await said(folder.write("kept", bytes));
        await said(folder.appendBytes("more", bytes));
        const more = (await folder.exists("more")) ? (await folder.open("more")).size : 0;
        return { tried, kept: await folder.readText("kept"), more };
      }, kind);
      for (const text of found.tried) {
        expect(text).toMatch(
          /^QuotaError: Cannot .*storage for this site is full\. [\d.]+ MB are needed, but only [\d.]+ [kM]B of 6\.0 MB are free/,
        );
      }
      expect(found).toMatchObject({ kept: "here", more: 0 });
    } finally {
      await fresh.close();
    }
  });
});

test("a folder of IndexedDB is renamed atomically, and remains of a crash are removed", async () => {
  const found = await worker.evaluate(async () => {
    const folder = folders.idb("rename");
    await folder.folder("tmp").write("a", "1");
    await folder.folder("tmp").folder("deep").write("b", "2");
    await folder.write("tmp-other", "not inside");
    await folder.rename("tmp", "done");
    const taken = await folder
      .folder("tmp")
      .write("a", "3")
      .then(() => folder.rename("tmp", "done"))
      .catch((e: Error) => e.message);
    const count = () =>
      new Promise<number>((resolve) => {
        const opened = indexedDB.open("rename");
        opened.onsuccess = () => {
          const keys = opened.result
            .transaction("files")
            .objectStore("files")
            .count(IDBKeyRange.bound(["part"], ["part", []]));
          keys.onsuccess = () => {
            opened.result.close();
            resolve(keys.result);
          };
        };
      });
    const before = await count();
    // a write that never came to its end
    await new Promise<void>((resolve) => {
      const opened = indexedDB.open("rename");
      opened.onsuccess = () => {
        const tx = opened.result.transaction("files", "readwrite");
        tx.objectStore("files").put(new Uint8Array(3), ["part", "lost#1", 0]);
        tx.oncomplete = () => {
          opened.result.close();
          resolve();
        };
      };
    });
    const littered = await count();
    await folder.sweep();
    return {
      list: await folder.list(),
      folders: await folder.folders(),
      a: await folder.folder("done").readText("a"),
      b: await folder.folder("done").folder("deep").readText("b"),
      taken,
      counts: [before, littered, await count()],
    };
  });
  expect(found).toEqual({
    list: ["tmp-other"],
    folders: ["done", "tmp"],
    a: "1",
    b: "2",
    taken: expect.stringMatching(/something of that name exists/),
    counts: [4, 5, 4],
  });
});
