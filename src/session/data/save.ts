import { type KeptPair, rowOf, type SaveFormat, splitPairs } from "../../data/documents/rows.ts";
import { DataError } from "../../errors.ts";
import { dataCard } from "../../report/data-card.ts";
import { type DataReport, renderDataReport } from "../../report/documents.ts";
import { formatNumber } from "../../text/numbers.ts";
import type { CleanedFile, DataFolder } from "./folder.ts";

interface SaveOptions {
  format: SaveFormat;
  /** add source, chunk, pages and rating to each row */
  metadata: boolean;
  /** test rows: below 1 a share, otherwise a number; 0: none */
  split: number;
  /** models that wrote the pairs, for the card */
  model: string | null;
}

/** The files that {@link saveRows} wrote, by their path in the folder, with their rows. */
interface SavedRows {
  files: { name: string; rows: number }[];
}

/** The pairs to train on: those of `cleaned/`, or all of `generated/` if nothing was curated. */
export async function keptPairs(data: DataFolder): Promise<KeptPair[]> {
  const cleaned = await data.cleaned();
  const files = cleaned.length > 0 ? cleaned : await data.generated();
  return files.flatMap(({ source, chunk, pages, qa_pairs }) =>
    qa_pairs.map((pair) => {
      const { question, answer, reasoning } = pair;
      const rating = "rating" in pair && typeof pair.rating === "number" ? pair.rating : null;
      return { question, answer, ...(reasoning ? { reasoning } : {}), rating, source, chunk, pages };
    }),
  );
}

/**
 * Writes `final/`: rows for training, optionally test rows, and a dataset card. Files of another format that an earlier save left
 * go.
 *
 * @throws {DataError} there are no pairs, or the split leaves a part empty
 */
export async function saveRows(data: DataFolder, options: SaveOptions): Promise<SavedRows> {
  const { format, metadata, split } = options;
  const pairs = await keptPairs(data);
  if (pairs.length === 0) {
    throw new DataError(`Cannot save rows: ${data.path} has no pairs; create some first, or lower the threshold`);
  }
  const parts = splitPairs(pairs, split);
  if (parts.train.length === 0) {
    throw new DataError(
      `Cannot split ${formatNumber(pairs.length)} pairs with a test part of ${split}: none is left to train on`,
    );
  }
  const folder = data.folder.folder("final");
  const end = format === "parquet" ? "parquet" : "jsonl";
  const files: { name: string; rows: number }[] = [];
  for (const [part, own] of Object.entries(parts)) {
    if (own.length === 0) continue;
    const rows = own.map((pair) => rowOf(pair, format, metadata));
    const name = `${part}.${end}`;
    await folder.write(
      name,
      end === "parquet" ? await parquetOf(rows) : rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
    );
    files.push({ name: `final/${name}`, rows: own.length });
  }
  const sources = new Map<string, number>();
  for (const { source } of pairs) sources.set(source, (sources.get(source) ?? 0) + 1);
  await folder.write("README.md", dataCard({ files, format, sources: [...sources], model: options.model, metadata }));
  const written = new Set([...files.map(({ name }) => name.slice("final/".length)), "README.md"]);
  for (const name of await folder.list()) {
    if (/^(train|test)\.(jsonl|parquet)$/.test(name) && !written.has(name)) await folder.remove(name);
  }
  return { files };
}

const text = { type: "BYTE_ARRAY", converted_type: "UTF8" };
const list = (name: string, children: number) => [
  { name, repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
  { name: "list", repetition_type: "REPEATED", num_children: 1 },
  { name: "element", repetition_type: "OPTIONAL", ...(children > 0 ? { num_children: children } : { type: "INT64" }) },
];

/** Rows of `messages` as Parquet, with lists of structs as pyarrow writes them. */
async function parquetOf(rows: readonly Record<string, unknown>[]): Promise<Uint8Array> {
  const { parquetWriteBuffer } = await import("hyparquet-writer");
  const columns: Record<string, object[]> = {
    messages: [
      ...list("messages", 2),
      { name: "role", repetition_type: "OPTIONAL", ...text },
      { name: "content", repetition_type: "OPTIONAL", ...text },
    ],
    source: [{ name: "source", repetition_type: "OPTIONAL", ...text }],
    chunk: [{ name: "chunk", repetition_type: "OPTIONAL", ...text }],
    pages: list("pages", 0),
    rating: [{ name: "rating", repetition_type: "OPTIONAL", type: "DOUBLE" }],
  };
  const names = Object.keys(rows[0]);
  const schema = [{ name: "root", num_children: names.length }, ...names.flatMap((name) => columns[name])];
  const cellOf = (name: string, value: unknown) => (name === "pages" ? (value as number[]).map(BigInt) : value);
  const columnData = names.map((name) => ({ name, data: rows.map((row) => cellOf(name, row[name])) }));
  return new Uint8Array(parquetWriteBuffer({ schema, columnData } as Parameters<typeof parquetWriteBuffer>[0]));
}

/** What a recipe for the rows needs to know. */
interface RecipeFacts {
  /** the folder's path as the user wrote it */
  output: string;
  files: SavedRows["files"];
  /** the model that made the pairs, if it is to be trained; null: the user names one */
  model: string | null;
}

/** Writes `recipe.yaml`, with which `qwench sft` trains on the rows. */
export async function writeRecipe(data: DataFolder, { output, files, model }: RecipeFacts): Promise<void> {
  const [train, test] = files.map(({ name }) => JSON.stringify(`${output}/${name}`));
  const lines = [
    "# Trains on the rows of this folder: qwench sft recipe.yaml. Every field can be changed here or by a flag.",
    model === null ? "# model_name_or_path: the model to train" : `model_name_or_path: ${JSON.stringify(model)}`,
    `dataset_name: ${train}`,
    ...(test === undefined ? [] : [`eval_dataset_name: ${test}`, "eval_strategy: epoch"]),
    "num_train_epochs: 3",
    "learning_rate: 2.0e-4",
    "lr_scheduler_type: cosine",
    "warmup_ratio: 0.05",
    "per_device_train_batch_size: 2",
    "gradient_accumulation_steps: 4",
    "lora_r: 16",
    "lora_alpha: 32",
    "lora_target_modules: all-linear",
    "logging_steps: 5",
    `output_dir: ${JSON.stringify(`${output}/adapter`)}`,
  ];
  await data.folder.write("recipe.yaml", `${lines.join("\n")}\n`);
}

/** Writes `report.html`: what was made of which document, what was left out and why, and the pairs. */
export async function writeReport(data: DataFolder): Promise<void> {
  const [documents, generated, cleaned] = await Promise.all([data.documents(), data.generated(), data.cleaned()]);
  const curated = new Map(cleaned.map((file) => [file.chunk, file]));
  const report: DataReport = {
    documents: documents.map(({ source, format, pages, bytes }) => ({
      source,
      format,
      pages: pages.filter(({ page }) => page !== null).length,
      bytes,
      characters: pages.at(-1)?.end ?? 0,
    })),
    chunks: generated.map((file) => {
      const own: CleanedFile | undefined = curated.get(file.chunk);
      return {
        source: file.source,
        chunk: file.chunk,
        pages: file.pages,
        kept: own?.qa_pairs ?? file.qa_pairs.map((pair) => ({ ...pair, rating: null })),
        dropped: own?.dropped ?? [],
        unread: file.unread.length,
      };
    }),
  };
  await data.folder.write("report.html", renderDataReport(report));
}
