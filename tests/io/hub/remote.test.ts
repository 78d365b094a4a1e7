import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { downloadModel } from "../../../src/io/hub/hub.ts";
import { lookAtModel } from "../../../src/io/hub/remote.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { tinyModel } from "../../train/fixtures.ts";
import { FakeHub } from "./fake-hub.ts";

const ID = "somebody/tiny";
const hub = new FakeHub();
let files: Record<string, Uint8Array>;
beforeAll(async () => {
  const folder = await tinyModel();
  files = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files[name] = await source.read(0, source.size);
  }
  hub.repos.push({ kind: "model", id: ID, refs: { main: "a".repeat(40) }, files });
  await hub.start();
});
afterAll(() => hub.stop());
beforeEach(() => {
  hub.trick = undefined;
  hub.asked.length = 0;
});

const options = (cache = memoryFolder()) => ({ cache, hubUrl: hub.url, retry: { attempts: 3, baseDelayMs: 5 } });

test("a model's shapes are read without its weights", async () => {
  let sent = 0;
  hub.trick = (asked, res) => {
    if (asked.server === "cdn") res.on("finish", () => (sent += Number(res.getHeader("Content-Length"))));
    return false;
  };
  const { folder, missing } = await lookAtModel(ID, options());
  const checkpoint = await openCheckpoint(folder);
  expect(missing).toBe(files["model.safetensors"].length);
  expect(checkpoint.tensors.get("model.norm.weight")?.shape).toEqual([64]);
  expect(sent).toBeLessThan(8000);

  const local = memoryFolder();
  await local.write("config.json", files["config.json"]);
  await local.write("model.safetensors", files["model.safetensors"]);
  const wanted = await (await openCheckpoint(local)).read("model.norm.weight", 10, 100);
  expect(await checkpoint.read("model.norm.weight", 10, 100)).toEqual(wanted);
});

test("a server without ranges and a broken connection give the same bytes", async () => {
  let cuts = 0;
  hub.trick = (asked, res) => {
    if (asked.server !== "cdn") return false;
    const bytes = files["model.safetensors"];
    res.writeHead(200, { "Content-Length": bytes.length });
    if (cuts++ === 0) res.write(bytes.subarray(0, 4), () => res.destroy());
    else res.end(bytes);
    return true;
  };
  const { folder } = await lookAtModel(ID, options());
  const source = await folder.open("model.safetensors");
  expect(await source.read(5, 25)).toEqual(files["model.safetensors"].slice(5, 25));
  expect(cuts).toBe(2);
});

test("downloaded files count as present, and are not requested again", async () => {
  const cache = memoryFolder();
  await downloadModel(ID, options(cache));
  hub.asked.length = 0;
  const { folder, missing } = await lookAtModel(ID, options(cache));
  await openCheckpoint(folder);
  expect(missing).toBe(0);
  expect(hub.paths("cdn")).toEqual([]);
});
