import type { DataPreview, DataSource } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { formatCount } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { firstRows, type HubData, hubPicker } from "../data/hub.ts";
import { ownFile } from "../data/own-file.ts";
import { type SeenAs, seenRows } from "../data/seen.ts";
import { type Child, fill, h } from "../dom.ts";
import { type DataChoice, dataFor, GSM8K, type MethodChoice } from "../jobs.ts";
import { problemOf } from "../problems.ts";
import { choice, labelled, select } from "./choice.ts";

type Kind = "embedded" | "gsm8k" | "hub" | "file";

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

/** Chooses the rows: embedded, GSM8K, another data set of the hub, or the user's file, with a preview and a column mapping. */
interface DataPicker {
  element: HTMLElement;
  /** the embedded rows and the needed columns depend on the method */
  setMethod(method: MethodChoice): void;
}

interface Beginning {
  kind: Kind;
  file: File | null;
  hub: HubData | null;
  columns: Record<string, string> | null;
}

/** What is chosen at first: an offered file, else what the user chose before. */
function beginning({ file, data = null, lost = false }: Pick<Offered, "file" | "data" | "lost">): Beginning {
  const columns = data && "columns" in data ? (data.columns ?? null) : null;
  if (lost || data?.kind === "stored") return { kind: "file", file, hub: null, columns };
  if (file || !data || data.kind === "embedded") return { kind: file ? "file" : "embedded", file, hub: null, columns };
  if (data.kind === "file") return { kind: "file", file: data.file, hub: null, columns };
  const other = data.kind === "hub" && data.id !== GSM8K.id ? data : null;
  return { kind: other ? "hub" : "gsm8k", file, hub: other, columns };
}

interface Offered {
  file: File | null;
  method: MethodChoice;
  data?: DataChoice;
  lost?: boolean;
  as: () => SeenAs | null;
}

/**
 * @param offered a file to begin with, or the rows that the user chose before; `lost`: a file that must be chosen again;
 *   `as`: the model and recipe through which rows are seen
 */
export function dataPicker(
  app: App,
  signal: AbortSignal,
  changed: (data: DataChoice) => void,
  offered: Offered,
): DataPicker {
  let { kind, file, hub, columns } = beginning(offered);
  let { method } = offered;
  const kept = offered.data?.kind === "stored" ? offered.data : null;
  let changing = false;
  let preview: DataPreview | null = null;
  let problem: string | null = null;
  let asked = 0;
  const detail = h("div", { class: "detail" });

  const source = (): DataChoice => {
    if (kind === "embedded") return { kind };
    if (kind === "gsm8k") return GSM8K;
    if (kind === "hub") return hub && { ...hub, ...(columns && { columns }) };
    if (!file) return kept;
    return columns ? { kind: "file", file, columns } : null;
  };
  const tell = () => changed(source());

  /** The rows to preview; null: there are none, or they would have to be downloaded. */
  const first = async (): Promise<DataSource | null> => {
    if (kind === "embedded") return dataFor({ kind }, method === "both" ? "grpo" : method);
    const shown = kind === "file" ? file : kind === "hub" && hub ? await firstRows(hub) : null;
    return shown && { kind: "file", file: shown };
  };
  /** Previews the first rows. */
  const look = async () => {
    const own = ++asked;
    preview = null;
    problem = null;
    changing = false;
    show();
    try {
      const rows = await first();
      const found = rows && (await app.trainer.data.preview(rows));
      if (own !== asked || signal.aborted) return;
      preview = found;
      if (found && kind !== "embedded" && columns === null) {
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
    changing = true; // the user may have more to say
    tell();
    show();
  };
  const anew = () => {
    columns = null;
    tell();
    void look();
  };
  const search = hubPicker(signal, (chosen) => {
    hub = chosen;
    anew();
  });
  const ownRows = ownFile(app, signal, (chosen) => {
    file = chosen;
    anew();
  });
  const show = () => {
    const now = source();
    // these stay where they are, so that what the user types in them does too
    search.hidden = kind !== "hub";
    ownRows.hidden = kind !== "file";
    const change = () => {
      changing = !changing;
      show();
    };
    const shown = { kind, file, preview, problem, columns, changing, method };
    fill(
      detail,
      kind === "file" &&
        !file &&
        kept &&
        h("p", { class: "about" }, "The rows of the earlier run are kept in storage."),
      ...about(shown, change, take),
      now && seenRows(app, dataFor(now, method === "both" ? "sft" : method), offered.as, signal),
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
        { value: "hub", title: "From Hugging Face", about: "Any data set, by search or address" },
        { value: "file", title: "Your file", about: "JSONL, CSV or Parquet; pasted; or from an address" },
      ],
      kind,
      (value) => {
        kind = value;
        anew();
      },
    ),
    search,
    ownRows,
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

/** What is known about the chosen rows. */
interface Known {
  kind: Kind;
  file: File | null;
  preview: DataPreview | null;
  problem: string | null;
  columns: Record<string, string> | null;
  changing: boolean;
  method: MethodChoice;
}

/** The chosen rows in words and as a table, with their columns. */
function about(
  { kind, file, preview, problem, columns, changing, method }: Known,
  change: () => void,
  take: (columns: Record<string, string> | null) => void,
): Child[] {
  const own = kind === "file" || kind === "hub";
  const waiting = !preview && !problem && (kind === "embedded" || (kind === "file" && file));
  return [
    kind === "gsm8k" && h("p", { class: "about" }, GSM8K_ABOUT),
    file && kind === "file" && h("p", { class: "about", role: "status" }, aboutFile(file, preview)),
    waiting && h("p", { class: "about" }, "Reading the first rows …"),
    problem && h("p", { class: "wrong", role: "alert" }, problem),
    own && preview?.problem && !columns && h("p", { class: "wrong", role: "alert" }, preview.problem),
    own && preview && formBanner(preview, columns, changing, change),
    ...(own && preview && (changing || !columns) ? columnChoice(preview, method, columns, take) : []),
    preview && previewTable(preview, own ? columns : null),
  ];
}

function aboutFile(file: File, preview: DataPreview | null): string {
  return `${file.name}, ${formatFileSize(file.size)}${preview?.count ? `, ${formatCount(preview.count)} rows` : ""}`;
}

/** What the rows are taken for, and the columns that nothing uses. */
function formBanner(
  { form, unused }: DataPreview,
  columns: Record<string, string> | null,
  changing: boolean,
  change: () => void,
): HTMLElement | null {
  if (!columns) return null;
  const other = Object.entries(columns).filter(([ours, own]) => ours !== own);
  const mapped = other.map(([ours, own]) => `${own} as ${ours}`).join(", ");
  return h(
    "div",
    { class: "form-banner" },
    h(
      "p",
      {},
      "Read as ",
      h("b", {}, form ?? "chosen below"),
      mapped && ` (${mapped})`,
      ".",
      unused.length > 0 && ` Nothing but rewards uses ${unused.join(", ")}.`,
    ),
    h(
      "button",
      { type: "button", class: "quiet", "aria-expanded": String(changing), on: { click: change } },
      changing ? "Done" : "Change",
    ),
  );
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
