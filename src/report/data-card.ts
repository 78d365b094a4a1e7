import { stringify } from "yaml";
import { formatNumber } from "../text/numbers.ts";
import { markdownCell } from "../text/tables.ts";

/** The contents of a dataset card. */
interface DataCardFacts {
  /** files with their rows: `final/train.jsonl` */
  files: readonly { name: string; rows: number }[];
  format: string;
  /** documents with their number of pairs */
  sources: readonly (readonly [source: string, pairs: number])[];
  /** the model that wrote the pairs, if known */
  model: string | null;
  metadata: boolean;
}

/** README.md beside the rows: front matter that `datasets.load_dataset` reads, and where the rows come from. */
export function dataCard({ files, format, sources, model, metadata }: DataCardFacts): string {
  const parts = files.map(({ name }) => {
    const file = name.split("/").at(-1)!;
    return { split: file.split(".")[0], path: file };
  });
  const front = {
    tags: ["synthetic", "qwench"],
    configs: [{ config_name: "default", data_files: parts }],
  };
  const rows = files.map(({ name, rows }) => `- \`${name.split("/").at(-1)}\`: ${formatNumber(rows)} rows`);
  const documents = sources.map(([source, pairs]) => `| ${markdownCell(source)} | ${formatNumber(pairs)} |`);
  return [
    `---\n${stringify(front, { lineWidth: 0 })}---\n`,
    "# Question-answer pairs from documents\n",
    `Made by \`qwench data\`${model === null ? "" : `, with the model ${markdownCell(model)}`}. A model wrote the pairs, so they may contain errors. The rights of the documents apply to them.\n`,
    "## Files\n",
    `${rows.join("\n")}\n`,
    `Format: ${format}.${metadata ? " The columns `source`, `chunk`, `pages` and `rating` say where a row comes from." : ""}\n`,
    "## Documents\n",
    `| document | pairs |\n|---|---|\n${documents.join("\n")}\n`,
  ].join("\n");
}
