import { parquetWriteBuffer } from "hyparquet-writer";
import type { Folder } from "../../src/io/storage.ts";
import { mixSeed, uniformFrom } from "../../src/train/seed.ts";
import type { NamedFont } from "./fonts.ts";
import { encodePng } from "./png.ts";
import { type LineStyle, renderLine } from "./render.ts";

/** What to draw. */
export interface OcrSet {
  text: (random: () => number) => string;
  fonts: readonly NamedFont[];
  style: LineStyle;
  /** training rows, and rows for evaluation, whose texts are not among the training texts */
  rows: number;
  test: number;
  /** what the user asks beside each image */
  question: string;
  seed: number;
}

/** A drawn text. */
interface OcrRow {
  text: string;
  png: Uint8Array;
}

const MOST_DRAWS = 1000;
/** Files that are written at once: each waits for the disk. */
const TOGETHER = 64;

/**
 * Draws training rows and test rows. A row depends on the seed, its part and its number only, except for its text where
 * another row has it.
 *
 * @throws {Error} no font has a character, or there are too few different texts for the test rows
 */
export function drawRows({ text, fonts, style, rows, test, seed }: OcrSet): Record<"train" | "test", OcrRow[]> {
  const seen = new Set<string>();
  const draw = (part: number, index: number, refused: ReadonlySet<string>): OcrRow => {
    const random = uniformFrom(mixSeed(seed, part, index));
    let drawn = text(random);
    for (let tries = 1; refused.has(drawn); tries++) {
      if (tries === MOST_DRAWS) throw new Error(`Cannot draw ${test} test rows: their texts are all in training rows`);
      drawn = text(random);
    }
    const able = fonts.filter(({ font }) => [...drawn].every((character) => font.charToGlyphIndex(character) > 0));
    if (able.length === 0) throw new Error(`Cannot draw ${JSON.stringify(drawn)}: no font has all of its characters`);
    const { width, height, pixels } = renderLine(drawn, able[Math.floor(random() * able.length)], style, random);
    return { text: drawn, png: encodePng(width, height, pixels) };
  };
  // test texts are drawn first, so that a small set of texts leaves enough for them
  const held = Array.from({ length: test }, (_, i) => draw(1, i, seen));
  for (const row of held) seen.add(row.text);
  return { train: Array.from({ length: rows }, (_, i) => draw(0, i, seen)), test: held };
}

const turns = (question: string, text: string) => [
  { role: "user", content: question },
  { role: "assistant", content: text },
];

/** Writes rows as JSON Lines whose images are PNG files beside them: TRL's rows for vision-language models. */
export async function writeJsonl(
  folder: Folder,
  part: string,
  rows: readonly OcrRow[],
  question: string,
): Promise<void> {
  const lines: string[] = [];
  const names = rows.map((_, i) => `${String(i + 1).padStart(5, "0")}.png`);
  for (let from = 0; from < rows.length; from += TOGETHER) {
    const some = rows.slice(from, from + TOGETHER);
    await Promise.all(some.map(({ png }, i) => folder.folder(part).write(names[from + i], png)));
    for (const [i, { text }] of some.entries()) {
      const images = [`${part}/${names[from + i]}`];
      lines.push(`${JSON.stringify({ images, messages: turns(question, text) })}\n`);
    }
  }
  await folder.write(`${part}.jsonl`, lines.join(""));
}

const text = { type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" };
const list = (name: string, children: number) => [
  { name, repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
  { name: "list", repetition_type: "REPEATED", num_children: 1 },
  { name: "element", repetition_type: "OPTIONAL", num_children: children },
];
/** The columns' types, as `datasets` writes them into a file: its Image is a struct of bytes and path. */
const FEATURES = {
  images: { _type: "List", feature: { _type: "Image" } },
  messages: {
    _type: "List",
    feature: { role: { dtype: "string", _type: "Value" }, content: { dtype: "string", _type: "Value" } },
  },
};

/** Rows as Parquet, as `datasets` writes columns of images. */
export function parquetOf(rows: readonly OcrRow[], question: string): Uint8Array {
  const schema = [
    { name: "root", num_children: 2 },
    ...list("images", 2),
    { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" },
    { ...text, name: "path" },
    ...list("messages", 2),
    { ...text, name: "role" },
    { ...text, name: "content" },
  ];
  const columnData = [
    { name: "images", data: rows.map(({ png }, i) => [{ bytes: png, path: `${i + 1}.png` }]) },
    { name: "messages", data: rows.map(({ text }) => turns(question, text)) },
  ];
  const kvMetadata = [{ key: "huggingface", value: JSON.stringify({ info: { features: FEATURES } }) }];
  const options = { schema, columnData, kvMetadata, rowGroupSize: 100, statistics: false };
  return new Uint8Array(parquetWriteBuffer(options as Parameters<typeof parquetWriteBuffer>[0]));
}
