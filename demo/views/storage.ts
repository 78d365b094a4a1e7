import type { StorageUsage, StoredItem } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { formatTime } from "../../src/text/times.ts";
import type { App } from "../app.ts";
import { type Child, fill, h } from "../dom.ts";
import { confirm } from "../parts/dialog.ts";
import { problemLine } from "../parts/notice.ts";
import { problemOf } from "../problems.ts";
import type { View } from "./view.ts";

const KINDS: readonly (readonly [StoredItem["kind"], string])[] = [
  ["model", "Models"],
  ["data", "Data"],
  ["run", "Runs"],
];

/** The page's stored items, each with a delete button. */
export function storageView(app: App, signal: AbortSignal): View {
  const body = h("div");
  const show = async () => {
    try {
      const usage = await app.trainer.storage.usage();
      if (!signal.aborted) fill(body, ...describe(app, usage));
    } catch (error) {
      if (!signal.aborted) fill(body, problemLine("error", problemOf(error)));
    }
  };
  app.stored.watch(signal, () => void show());
  return {
    title: "Storage",
    element: h(
      "div",
      { class: "view storage" },
      h("h1", {}, "Storage"),
      h("p", { class: "lead" }, "This browser keeps models, data and runs on this machine."),
      body,
    ),
  };
}

function describe(app: App, { usage, quota, persisted, items }: StorageUsage): Child[] {
  const persist = h("button", { type: "button", class: "secondary" }, "Ask the browser to keep the data");
  persist.addEventListener("click", async () => {
    const kept = await app.trainer.storage.persist();
    app.announce(
      kept ? "The browser has promised to keep the data." : "The browser has not promised to keep the data.",
    );
    if (kept) app.stored.value++;
    else fill(promise, "The browser declined. It often agrees once the page is bookmarked or installed.");
  });
  const promise = h(
    "p",
    { class: "about", role: "status" },
    persisted
      ? "The browser has promised to keep this data until you delete it."
      : "The browser may delete this data when space runs low.",
  );
  return [
    h(
      "div",
      { class: "usage" },
      h("p", {}, h("b", {}, formatFileSize(usage)), ` used of ${formatFileSize(quota)}`),
      h("meter", { min: 0, max: Math.max(1, quota), value: usage, "aria-label": "Storage used" }),
      h("div", { class: "row" }, promise, !persisted && persist),
    ),
    ...KINDS.flatMap(([kind, title]) => {
      const own = items.filter((item) => item.kind === kind);
      return own.length === 0
        ? []
        : [h("section", {}, h("h2", {}, title), h("ul", { class: "stored" }, ...own.map((item) => row(app, item))))];
    }),
    items.length === 0 && h("p", { class: "about" }, "Nothing is stored yet."),
  ];
}

function row(app: App, { id, kind, name, bytes, created }: StoredItem): HTMLElement {
  const remove = h("button", { type: "button", class: "quiet", "aria-label": `Delete ${name}` }, "Delete");
  remove.addEventListener("click", async () => {
    const detail =
      kind === "run"
        ? "This permanently deletes its adapter, checkpoints and curves."
        : "You can download or choose it again.";
    if (!(await confirm(`Delete ${name}?`, `This frees ${formatFileSize(bytes)}. ${detail}`, "Delete"))) return;
    try {
      await app.trainer.storage.remove(id);
      app.announce(`Deleted ${name}.`);
    } catch (error) {
      app.report("remove", error);
    }
    app.stored.value++;
  });
  return h(
    "li",
    {},
    h("span", { class: "name" }, name),
    h("span", { class: "about" }, [formatFileSize(bytes), created && formatTime(created)].filter(Boolean).join(" · ")),
    remove,
  );
}
