import type { DataPreview } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { formatCount } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { type Child, fill, h } from "../dom.ts";
import { type DataChoice, dataFor, GSM8K, type MethodChoice } from "../jobs.ts";
import { problemOf } from "../problems.ts";
import { choice, filePicker, labelled, select } from "./choice.ts";

type Kind = "embedded" | "gsm8k" | "file";

/** Row formats with the columns that each needs, by Qwench's names. */
const READINGS = {
  "question and answer": ["question", "answer"],
  "prompt and completion": ["prompt", "completion"],
  conversation: ["messages"],
  "plain text": ["text"],
  prompt: ["prompt"],
  preference: ["prompt", "chosen", "rejected"],
  "preference, with the prompt in both answers": ["chosen", "rejected"],
} as const;
type Reading = keyof typeof READINGS;

/** The row formats that a method accepts. */
const OFFERED: Record<MethodChoice, readonly Reading[]> = {
  sft: ["question and answer", "prompt and completion", "conversation", "plain text"],
  grpo: ["question and answer", "prompt"],
  dpo: ["preference", "preference, with the prompt in both answers"],
  both: ["question and answer"],
};

const PREVIEW_ROWS = 4;
const GSM8K_ABOUT =
  "7,473 questions of grade-school mathematics with worked answers, some 5 MB; 1,319 more are held out. Each answer ends with a number, which the reward functions check.";

/** Chooses the rows: embedded, GSM8K, or the user's file with a preview and a column mapping. */
interface DataPicker {
  element: HTMLElement;
  /** the embedded rows and the needed columns depend on the method */
  setMethod(method: MethodChoice): void;
}

/** @param offered a file to begin with, or the rows that the user chose before; `lost`: a file that must be chosen again */
export function dataPicker(
  app: App,
  signal: AbortSignal,
  changed: (data: DataChoice) => void,
  offered: { file: File | null; method: MethodChoice; data?: DataChoice; lost?: boolean },
): DataPicker {
  let { method } = offered;
  let { kind, file, columns } = firstOf(offered);
  const kept = offered.data?.kind === "stored" ? offered.data : null;
  let preview: DataPreview | null = null;
  let problem: string | null = null;
  let asked = 0;
  const detail = h("div", { class: "detail" });

  const source = (): DataChoice => {
    if (kind === "embedded") return { kind };
    if (kind === "gsm8k") return GSM8K;
    if (!file) return kept;
    return columns ? { kind: "file", file, columns } : null;
  };
  const tell = () => changed(source());

  /** Previews the first rows. */
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
          : dataFor({ kind: "embedded" }, method === "both" ? "grpo" : method),
      );
      if (own !== asked || signal.aborted) return;
      preview = found;
      if (kind === "file" && columns === null) {
        columns = found.columnsTaken;
        tell();
      }
    } catch (error) {
      if (own !== asked || signal.aborted) return;
      problem = problemOf(error).text;
    }
    show();
  };

  const take = (chosen: Record<string, string> | null) => {
    columns = chosen;
    tell();
    show();
  };
  const show = () => {
    if (kind === "gsm8k") {
      fill(detail, h("p", { class: "about" }, GSM8K_ABOUT));
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
      picker && h("p", { class: "about" }, "JSONL, CSV or Parquet. The file stays on this machine."),
      picker,
      !file &&
        kept &&
        kind === "file" &&
        h("p", { class: "about" }, "The rows of the earlier run are kept in storage."),
      file && kind === "file" && fileLine(file, preview),
      waiting && h("p", { class: "about" }, "Reading the first rows …"),
      problem && h("p", { class: "wrong", role: "alert" }, problem),
      preview?.problem && kind === "file" && !columns && h("p", { class: "wrong", role: "alert" }, preview.problem),
      ...(preview && kind === "file" ? columnChoice(preview, method, columns, take) : []),
      preview && previewTable(preview, kind === "file" ? columns : null),
    );
  };

  const element = h(
    "div",
    { class: "picker" },
    choice<Kind>(
      "Data",
      [
        { value: "embedded", title: "Word problems", about: "Short word problems, generated by this page" },
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

/** What the picker shows first. */
function firstOf({ file, data = null, lost = false }: { file: File | null; data?: DataChoice; lost?: boolean }): {
  kind: Kind;
  file: File | null;
  columns: Record<string, string> | null;
} {
  if (file || lost || data?.kind === "stored") return { kind: "file", file, columns: null };
  if (data?.kind === "file") return { kind: "file", file: data.file, columns: data.columns ?? null };
  return { kind: data?.kind === "hub" ? "gsm8k" : "embedded", file: null, columns: null };
}

function fileLine({ name, size }: File, preview: DataPreview | null): HTMLElement {
  const rows = preview?.count ? `, ${formatCount(preview.count)} rows` : "";
  return h("p", { class: "about", role: "status" }, `${name}, ${formatFileSize(size)}${rows}`);
}

/** Shows the row format and the column mapping. @param set receives the chosen columns, by Qwench's names */
function columnChoice(
  found: DataPreview,
  method: MethodChoice,
  columns: Record<string, string> | null,
  set: (columns: Record<string, string> | null) => void,
): Child[] {
  const offered = OFFERED[method];
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
      if (value === "") return set(null);
      const names: readonly string[] = READINGS[value as Reading];
      const column = (name: string, i: number) =>
        found.columns.includes(name) ? name : (found.columns[i] ?? found.columns[0]);
      set(Object.fromEntries(names.map((name, i) => [name, column(name, i)])));
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
            (column) => set({ ...columns, [name]: column }),
          ),
        ),
      ),
    ),
  ];
}

/** The first rows as text. Mapped columns show their Qwench name. */
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
