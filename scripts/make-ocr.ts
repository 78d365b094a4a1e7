// `npm run make:ocr -- DIR`: draws lines of text as images, for OCR training and evaluation. The same seed and fonts give the
// same files.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { nodeFolder } from "../src/platform/node/fs.ts";
import { readFonts } from "./ocr/fonts.ts";
import { drawRows, parquetOf, writeJsonl } from "./ocr/rows.ts";
import { TEXTS, textsOf } from "./ocr/texts.ts";

const USAGE = `Usage: npm run make:ocr -- DIR [flags]
Draws lines of text as images with their truth: DIR/train.jsonl, DIR/test.jsonl and PNG files, or Parquet as datasets writes images.
  --rows N         training rows (default 2000)
  --test N         test rows, whose texts are not in training rows (default 200; 0: none)
  --text KIND      ${Object.keys(TEXTS).join(", ")}, or a file with one text a line (default lines)
  --font PATH      a TTF or OTF file, or a folder of them; may be repeated (default: Liberation Sans in four styles)
  --size FROM:TO   pixels of the letters' em (default 18:34)
  --rotation N     most degrees, either way (default 3)
  --noise N        standard deviation of the noise, as a share of white (default 0.04)
  --canvas WxH     pixels of every image (default: as large as its line, with a margin)
  --question TEXT  what the user asks (default "Read the text.")
  --format F       jsonl or parquet (default jsonl)
  --seed N         (default 0)
  --force          replace the files that are there`;

function fail(message: string): never {
  console.error(`${message}\n${USAGE}`);
  process.exit(2);
}

function numbers(flag: string, text: string, pattern: RegExp): number[] {
  const found = pattern.exec(text);
  if (!found) fail(`--${flag} ${text} is not understood`);
  return found.slice(1).map(Number);
}

const NUMBER = /^(\d+(?:\.\d+)?)$/;
const WHOLE = /^(\d{1,7})$/;

function parse() {
  const text = (value: string) => ({ type: "string", default: value }) as const;
  try {
    return parseArgs({
      options: {
        rows: text("2000"),
        test: text("200"),
        text: text("lines"),
        font: { type: "string", multiple: true },
        size: text("18:34"),
        rotation: text("3"),
        noise: text("0.04"),
        canvas: { type: "string" },
        question: text("Read the text."),
        format: text("jsonl"),
        seed: text("0"),
        force: { type: "boolean" },
        help: { type: "boolean" },
      },
      allowPositionals: true,
    });
  } catch (error) {
    return fail((error as Error).message);
  }
}

const { values, positionals } = parse();
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const [path, ...more] = positionals;
if (!path || more.length > 0) fail("Give one folder");
const { format } = values;
if (format !== "jsonl" && format !== "parquet") fail(`--format ${format} must be jsonl or parquet`);
const [from, to] = numbers("size", values.size, /^(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)$/);
if (!(from >= 4 && to >= from && to <= 400))
  fail(`--size ${values.size} must be 4 or more, ascending, and at most 400`);
const canvas = values.canvas === undefined ? null : numbers("canvas", values.canvas, /^(\d{1,4})x(\d{1,4})$/);

const folder = nodeFolder(path);
const there = (await folder.list()).find((file) => /^(train|test)\.(jsonl|parquet)$/.test(file));
if (there && !values.force) {
  console.error(`Cannot write rows to ${folder.path}: it already has ${there}; --force replaces it`);
  process.exit(1);
}
try {
  const set = {
    text: TEXTS[values.text] ?? textsOf(readFileSync(values.text, "utf8")),
    fonts: readFonts(values.font),
    style: {
      size: [from, to] as const,
      rotation: numbers("rotation", values.rotation, NUMBER)[0],
      noise: numbers("noise", values.noise, NUMBER)[0],
      canvas: canvas && ([canvas[0], canvas[1]] as const),
    },
    rows: numbers("rows", values.rows, WHOLE)[0],
    test: numbers("test", values.test, WHOLE)[0],
    question: values.question,
    seed: numbers("seed", values.seed, WHOLE)[0],
  };
  for (const [part, rows] of Object.entries(drawRows(set))) {
    if (rows.length === 0) continue;
    if (format === "jsonl") await writeJsonl(folder, part, rows, set.question);
    else await folder.write(`${part}.parquet`, parquetOf(rows, set.question));
    console.log(`${folder.path}/${part}.${format}: ${rows.length} rows, ${set.fonts.length} fonts`);
  }
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
