import { unzipSync } from "fflate";
import { expect, test } from "vitest";
import { zipped } from "../../workers/session/zip.ts";

async function* entries<T>(...all: T[]) {
  yield* all;
}
async function bytesOf(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const piece of pieces) parts.push(piece);
  return Uint8Array.from(Buffer.concat(parts));
}

test("byte, text and streamed files are unpacked unchanged", async () => {
  const large = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251);
  async function* pieces() {
    for (let at = 0; at < large.length; at += 100_000) yield large.subarray(at, at + 100_000);
  }
  const zip = await bytesOf(
    zipped(
      entries(
        { name: "config.json", content: '{"ä": 1}' },
        { name: "w.bin", content: Uint8Array.of(1, 2, 3) },
        { name: "deep/large.bin", content: pieces() },
        { name: "empty", content: new Uint8Array() },
      ),
    ),
  );
  const files = unzipSync(zip);
  expect(Object.keys(files)).toEqual(["config.json", "w.bin", "deep/large.bin", "empty"]);
  expect(new TextDecoder().decode(files["config.json"])).toBe('{"ä": 1}');
  expect([...files["w.bin"]]).toEqual([1, 2, 3]);
  expect(Buffer.compare(files["deep/large.bin"], large)).toBe(0);
  expect(files.empty).toHaveLength(0);
});

test("a piece is passed on before the next one is requested", async () => {
  let asked = 0;
  async function* pieces() {
    for (asked = 1; asked <= 100; asked++) yield new Uint8Array(1000);
  }
  const stream = zipped(entries({ name: "w.bin", content: pieces() }));
  for (let bytes = 0; bytes < 5000; ) bytes += (await stream.next()).value!.length;
  expect(asked).toBeLessThan(10);
});

test("an error of a file's source is the zip's", async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10);
    throw new RangeError("the disk is gone");
  }
  await expect(bytesOf(zipped(entries({ name: "w.bin", content: broken() })))).rejects.toThrow("the disk is gone");
});
