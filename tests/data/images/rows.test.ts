import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readRows } from "../../../src/data/dataset.ts";
import { takeImages } from "../../../src/data/images/rows.ts";
import { readImageHeader } from "../../../src/io/images.ts";
import { memorySource } from "../fixtures.ts";

const take = (row: Record<string, unknown>) => takeImages({ row, number: 3, file: "a.jsonl" });
const user = (content: unknown) => [{ role: "user", content }];

describe("images of a row", () => {
  it("are taken out of its parts in every spelling, in order", () => {
    const bytes = Uint8Array.of(1);
    const parts = [
      { type: "image", image: "a.png" },
      { type: "text", text: "between" },
      { type: "image_url", image_url: { url: "https://b.org/b.png" } },
      { type: "image", path: "c.png" },
      { type: "image", bytes },
      { type: "image", url: "data:image/png;base64,AA==" },
    ];
    const { row, images } = take({ messages: user(parts), id: 1 })!;
    expect(images).toEqual([
      { address: "a.png" },
      { address: "https://b.org/b.png" },
      { address: "c.png" },
      { bytes },
      { address: "data:image/png;base64,AA==" },
    ]);
    const image = { type: "image" };
    expect(row).toEqual({
      messages: user([image, { type: "text", text: "between" }, image, image, image, image]),
      id: 1,
    });
  });

  it("are taken from the column, into the places of the parts, or before the first user's text", () => {
    const column = [{ bytes: null, path: "a.png" }, "b.png"];
    const placed = take({ prompt: user([{ type: "image" }, { type: "image" }, "?"]), completion: [], images: column })!;
    expect(placed.images).toEqual([{ address: "a.png" }, { address: "b.png" }]);
    expect(placed.row).not.toHaveProperty("images");
    const { row, images } = take({ messages: [{ role: "system", content: "s" }, ...user("what?")], image: "c.png" })!;
    expect(images).toEqual([{ address: "c.png" }]);
    expect(row.messages).toEqual([
      { role: "system", content: "s" },
      ...user([{ type: "image" }, { type: "text", text: "what?" }]),
    ]);
  });

  it("are none in rows of text", () => {
    expect(take({ messages: user([{ type: "text", text: "a" }]) })).toBe(null);
    expect(take({ text: "a", images: [] })).toBe(null);
  });

  it("must be as many as their parts", () => {
    expect(() => take({ messages: user([{ type: "image" }]), images: ["a.png", "b.png"] })).toThrow(
      'a.jsonl, row 3: has 2 images in "images", and its messages place 1 of them',
    );
    expect(() => take({ messages: [{ role: "assistant", content: "a" }], image: "a.png" })).toThrow("no user turn");
    expect(() => take({ messages: user([{ type: "image", bytes: "text" }]) })).toThrow("not an object");
  });

  it("come out of Parquet as datasets writes them, beside text that is read as text", async () => {
    const file = new Uint8Array(readFileSync(new URL("rows.parquet", import.meta.url)));
    const rows = [];
    for await (const source of readRows(memorySource("rows.parquet", file)))
      rows.push({ source, ...takeImages(source)! });
    expect(rows).toHaveLength(2);
    for (const { row, images } of rows) {
      const [image] = images as { bytes: Uint8Array }[];
      expect(readImageHeader(image.bytes, "a")).toEqual({ type: "png", width: 16, height: 8, orientation: 1 });
      expect((row.messages as { content: unknown }[])[0].content).toEqual([
        { type: "image" },
        expect.objectContaining({ type: "text", text: "what?" }),
      ]);
      expect((row.messages as { content: unknown }[])[1].content).toEqual([expect.objectContaining({ text: "né" })]);
    }
  });
});
