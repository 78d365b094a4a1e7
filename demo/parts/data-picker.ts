import type { DataPreview } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { formatCount } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { type Child, fill, h } from "../dom.ts";
import { type DataChoice, dataFor, GSM8K, type MethodChoice } from "../jobs.ts";
import { problemOf } from "../problems.ts";
import { choice, filePicker, labelled, select } from "./choice.ts";

type Kind = "embedded" | "gsm8k" | "file";

/** Ways to read a row, and the columns that each needs, by Qwench's names. */
const READINGS = {
  "question and answer": ["question", "answer"],
  "prompt and completion": ["prompt", "completion"],
  conversation: ["messages"],
  "plain text": ["text"],
  prompt: ["prompt"],
} as const;
type Reading = keyof typeof READINGS;

const PREVIEW_ROWS = 4;

/** Chooses the rows: embedded, GSM8K, or a file of the user with a look at it and its columns. */
export interface DataPicker {
  element: HTMLElement;
  /** the embedded rows and the columns that are asked for differ by method */
  setMethod(method: MethodChoice): void;
}

export function dataPicker(app: App, signal: AbortSignal, changed: (data: DataChoice) => void): DataPicker {
  let kind: Kind = "embedded";
  let method: MethodChoice = "both";
  let file: File | null = null;
  let columns: Record<string, string> | null = null;
  let preview: DataPreview | null = null;
  let problem: string | null = null;
  let asked = 0;
  const detail = h("div", { class: "detail" });

  const source = (): DataChoice => {
    if (kind === "embedded") return { kind };
    if (kind === "gsm8k") return GSM8K;
    return file && columns ? { kind: "file", file, columns } : null;
  };
  const tell = () => changed(source());

  /** Looks at the first rows. */
  const look = async () => {
    const own = ++asked;
    preview = null;
    problem = null;
    if (kind === "gsm8k" || (kind === "file" && !file)) return show();
    show();
    try {
      const found = await app.trainer.data.preview(
        kind === "file"
          ? { kind: "file", file: file! }
          : dataFor({ kind: "embedded" }, method === "sft" ? "sft" : "grpo"),
      );
      if (own !== asked || signal.aborted) return;
      preview = found;
      if (kind === "file") {
        columns = found.columnsTaken;
        tell();
      }
    } catch (error) {
      if (own !== asked || signal.aborted) return;
      problem = problemOf(error).text;
    }
    show();
  };

  const mapping = (found: DataPreview): Child[] => {
    const offered = (Object.keys(READINGS) as Reading[]).filter((reading) =>
      method === "sft"
        ? reading !== "prompt"
        : reading === "question and answer" || (method === "grpo" && reading === "prompt"),
    );
    const taken = Object.keys(columns ?? {}).filter((name) => name !== "answer" || columns?.question);
    const reading =
      offered.find(
        (one) => READINGS[one].length === taken.length && READINGS[one].every((name) => taken.includes(name)),
      ) ?? null;
    const none = ["", "Choose …"] as const;
    const read = select(
      [none, ...offered.map((one) => [one, one[0].toUpperCase() + one.slice(1)] as const)],
      reading ?? "",
      (value) => {
        if (value === "") columns = null;
        else {
          const names: readonly string[] = READINGS[value as Reading];
          columns = Object.fromEntries(
            names.map((name, i) => [
              name,
              found.columns.includes(name) ? name : (found.columns[i] ?? found.columns[0]),
            ]),
          );
        }
        tell();
        show();
      },
    );
    const parts = reading ? READINGS[reading] : [];
    return [
      h(
        "div",
        { class: "columns" },
        labelled("Rows are", read),
        ...parts.map((name) =>
          labelled(
            name[0].toUpperCase() + name.slice(1),
            select(
              found.columns.map((column) => [column, column] as const),
              columns?.[name] ?? "",
              (column) => {
                columns = { ...columns, [name]: column };
                tell();
                show();
              },
            ),
          ),
        ),
      ),
    ];
  };

  const show = () => {
    if (kind === "gsm8k") {
      fill(
        detail,
        h(
          "p",
          { class: "about" },
          "7 473 questions of grade-school mathematics with worked answers, some 5 MB; 1 319 more are held out. Each answer ends with a number, which the reward functions compare with.",
        ),
      );
      return;
    }
    const picker =
      kind === "file" &&
      filePicker(
        file ? "Choose another file …" : "Choose a file …",
        { accept: ".jsonl,.ndjson,.json,.csv,.tsv,.parquet" },
        ([chosen]) => {
          file = chosen;
          columns = null;
          tell();
          void look();
        },
      );
    const waiting = !preview && !problem && (kind === "embedded" || file);
    fill(
      detail,
      picker && h("p", { class: "about" }, "JSONL, CSV or Parquet. It is read here and goes nowhere."),
      picker,
      file &&
        kind === "file" &&
        h(
          "p",
          { class: "about", role: "status" },
          `${file.name}, ${formatFileSize(file.size)}${preview?.count ? `, ${formatCount(preview.count)} rows` : ""}`,
        ),
      waiting && h("p", { class: "about" }, "Reading the first rows …"),
      problem && h("p", { class: "wrong", role: "alert" }, problem),
      preview?.problem && kind === "file" && !columns && h("p", { class: "wrong", role: "alert" }, preview.problem),
      ...(preview && kind === "file" ? mapping(preview) : []),
      preview && previewTable(preview, kind === "file" ? columns : null),
    );
  };

  const element = h(
    "div",
    { class: "picker" },
    choice<Kind>(
      "Data",
      [
        { value: "embedded", title: "Word problems", about: "Small sums in words, made on the spot" },
        { value: "gsm8k", title: "GSM8K", about: "School mathematics, from the hub" },
        { value: "file", title: "Your file", about: "JSONL, CSV or Parquet" },
      ],
      kind,
      (value) => {
        kind = value;
        tell();
        void look();
      },
    ),
    detail,
  );
  void look();
  return {
    element,
    setMethod(next) {
      method = next;
      if (kind === "embedded") void look();
      else show();
    },
  };
}

/** The first rows as text; columns that are read carry the name that they are read as. */
function previewTable({ columns, rows }: DataPreview, taken: Record<string, string> | null): HTMLElement {
  const as = (column: string) => Object.entries(taken ?? {}).find(([, own]) => own === column)?.[0];
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "First rows" },
    h(
      "table",
      { class: "preview" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...columns.map((column) =>
            h(
              "th",
              { scope: "col", class: as(column) ? "taken" : null },
              column,
              as(column) && as(column) !== column && h("small", {}, ` as ${as(column)}`),
            ),
          ),
        ),
      ),
      h("tbody", {}, ...rows.slice(0, PREVIEW_ROWS).map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))))),
    ),
  );
}
