import type { ModelSource, StoredItem } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { type Child, fill, h } from "../dom.ts";
import { hubField, hubSource, hubText } from "../hub/model-field.ts";
import { HUB_MODELS } from "../jobs.ts";
import { choice, filePicker, labelled, select } from "./choice.ts";

const KINDS: readonly { value: ModelSource["kind"]; title: string; about: string }[] = [
  { value: "embedded", title: "Embedded", about: "Part of this page: tiny, ready, and not yet trained for any task" },
  { value: "hub", title: "From the hub", about: "Qwen2.5-0.5B-Instruct, or another on Hugging Face" },
  { value: "files", title: "Your folder", about: "Weights on this machine" },
  { value: "stored", title: "In storage", about: "Downloaded or imported before" },
];

/**
 * Chooses the model: embedded, from the hub, from the user's folder, or from storage.
 *
 * @param first the choice to begin with
 */
export function modelPicker(
  app: App,
  signal: AbortSignal,
  changed: (model: ModelSource | null) => void,
  first: ModelSource = { kind: "embedded" },
): HTMLElement {
  let { kind } = first;
  let hub: string = first.kind === "hub" ? hubText(first) : HUB_MODELS[0].id;
  let folder: { name: string; files: File[] } | null = first.kind === "files" ? first : null;
  let stored: StoredItem[] = [];
  let storedId: string | null = first.kind === "stored" ? first.id : null;
  const detail = h("div", { class: "detail" });
  const cards = h("div");

  const tell = () => changed(source());
  const source = (): ModelSource | null => {
    if (kind === "hub") return hubSource(hub);
    if (kind === "files") return folder && !folderProblem(folder.files) ? { kind, ...folder } : null;
    if (kind === "stored") return storedId ? { kind, id: storedId } : null;
    return { kind: "embedded" };
  };

  const showDetail = () => fill(detail, ...detailOf());
  const detailOf = (): Child[] => {
    if (kind === "hub")
      return hubField(app, hub, signal, (text) => {
        hub = text;
        tell();
      });
    if (kind === "files") return folderDetail();
    if (kind !== "stored") return [];
    const list = storedList(stored, storedId, (id) => {
      storedId = id;
      tell();
    });
    return [labelled("Model in storage", list)];
  };

  const folderDetail = (): Child[] => {
    const picker = filePicker(
      folder ? "Choose another folder …" : "Choose a folder …",
      { webkitdirectory: true },
      (files) => {
        folder = { name: files[0].webkitRelativePath.split("/")[0] || "folder", files: topFiles(files) };
        showDetail();
        tell();
      },
    );
    const problem = folder && folderProblem(folder.files);
    const bytes = folder?.files.reduce((sum, { size }) => sum + size, 0) ?? 0;
    return [
      h(
        "p",
        { class: "about" },
        "A folder with config.json, tokenizer.json and safetensors, as on the hub. The files stay on this machine.",
      ),
      picker,
      folder &&
        h(
          "p",
          { class: problem ? "wrong" : "right", role: "status" },
          problem ?? `${folder.name}: ${folder.files.length} files, ${formatFileSize(bytes)}`,
        ),
    ];
  };

  const showCards = () =>
    fill(
      cards,
      choice<ModelSource["kind"]>(
        "Model",
        KINDS.filter(({ value }) => value !== "stored" || stored.length > 0),
        kind,
        (value) => {
          kind = value;
          showDetail();
          tell();
        },
      ),
    );
  showCards();
  showDetail();
  app.trainer.storage.usage().then(
    ({ items }) => {
      stored = items.filter((item) => item.kind === "model");
      if (!stored.some(({ id }) => id === storedId)) storedId = stored[0]?.id ?? null;
      if (stored.length > 0 && !signal.aborted) showCards();
      if (kind === "stored" && !signal.aborted) showDetail();
    },
    () => {}, // the storage page reports storage errors
  );
  return h("div", { class: "picker" }, cards, detail);
}

function storedList(items: readonly StoredItem[], chosen: string | null, set: (id: string) => void): HTMLSelectElement {
  const options = items.map(({ id, name, bytes }) => [id, `${name}, ${formatFileSize(bytes)}`] as const);
  return select(options, chosen ?? "", set);
}

/** Files directly in the folder, not in subfolders. */
function topFiles(files: readonly File[]): File[] {
  return files.filter(({ webkitRelativePath: path }) => path.split("/").length <= 2);
}

/** Why a folder cannot be a model, or null. */
function folderProblem(files: readonly File[]): string | null {
  const has = (name: string) => files.some((file) => file.name === name);
  if (!has("config.json"))
    return "This folder has no config.json. Choose the folder that directly contains the model's files.";
  if (!files.some(({ name }) => name.endsWith(".safetensors"))) return "This folder has no .safetensors file.";
  if (!has("tokenizer.json")) return "This folder has no tokenizer.json.";
  return null;
}
