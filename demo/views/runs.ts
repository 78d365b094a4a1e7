import type { RunSummary } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import { formatNumber, formatShare } from "../../src/text/numbers.ts";
import { formatTime } from "../../src/text/times.ts";
import type { App } from "../app.ts";
import type { Comparing } from "../compare/compare.ts";
import { fill, h } from "../dom.ts";
import { takesDrops } from "../drop/files.ts";
import { filePicker } from "../parts/choice.ts";
import { confirm } from "../parts/dialog.ts";
import { statusWords } from "../parts/run-header.ts";
import type { View } from "./view.ts";

/** All runs, newest first, with the curves of the selected runs. */
export function runsView(app: App, signal: AbortSignal): View {
  const ticked = new Set<string>();
  const list = h("div");
  const curves = h("section", { class: "compare", "aria-labelledby": "compare-title" });
  let comparing: Promise<Comparing> | null = null;
  const compare = async (ids: readonly string[]) => {
    curves.hidden = ids.length === 0;
    if (ids.length === 0 && !comparing) return;
    // one for all ticks, also those during the import: a second would draw over the first one's newer choice
    comparing ??= import("../compare/compare.ts").then(({ comparer }) =>
      comparer({ recipe: app.trainer.recipe, record: (id) => app.record(id) }, curves, signal),
    );
    comparing.catch(() => (comparing = null)); // the next tick tries again
    await (await comparing)(ids);
  };

  const show = async () => {
    const opened = app.folders.value.map(({ record }) => record);
    const runs = [...opened, ...(await app.trainer.runs.list())].sort((a, b) => b.created - a.created);
    if (signal.aborted) return;
    for (const id of ticked) if (!runs.some((run) => run.id === id)) ticked.delete(id);
    const tick = (id: string, on: boolean) => {
      if (on) ticked.add(id);
      else ticked.delete(id);
      void compare(runs.filter((run) => ticked.has(run.id)).map((run) => run.id));
    };
    const empty = h(
      "p",
      { class: "about" },
      app.readOnly ? "There are no runs in these folders yet. A new one appears by itself." : "There are no runs yet. ",
      !app.readOnly && h("a", { href: "#/" }, "Train the embedded model"),
      !app.readOnly && " to create one.",
    );
    fill(
      list,
      runs.length === 0
        ? empty
        : h("ul", { class: "run-list" }, ...runs.map((run) => row(app, run, ticked.has(run.id), tick))),
    );
    await compare([...ticked]);
  };
  app.stored.watch(signal, () => void show().catch((error) => app.report("runs", error)));
  const heading = h("div", { class: "own-heading" }, h("h1", {}, "Runs"), !app.readOnly && openers(app));
  const about = "Both can be dropped here. A folder that qwench has trained in is only read.";
  const element = h(
    "div",
    { class: "view runs" },
    heading,
    !app.readOnly && h("p", { class: "about" }, about),
    list,
    curves,
  );
  if (!app.readOnly) takesDrops(element, (files) => void open(app, files));
  return { title: "Runs", element };
}

/** Buttons for what else can be shown: an exported run, and a folder of the command line. */
function openers(app: App): HTMLElement {
  const take = (files: File[]) => void open(app, files);
  return h(
    "div",
    { class: "openers" },
    filePicker("Import a run …", { accept: ".zip" }, take),
    filePicker("Open a folder …", { webkitdirectory: true }, take),
  );
}

/** Imports an exported run, or shows the runs in a folder. */
async function open(app: App, files: readonly File[]): Promise<void> {
  app.dismiss("import");
  const [file] = files;
  try {
    // a run's files alone are as good as their folder
    if (file.webkitRelativePath || /\.jsonl?$/.test(file.name))
      await (await import("../runs/open-folder.ts")).openFolder(app, files);
    else location.hash = `#/runs/${encodeURIComponent(await app.trainer.runs.unpack(file))}`;
  } catch (error) {
    app.report("import", error);
  }
}

function row(app: App, run: RunSummary, ticked: boolean, tick: (id: string, on: boolean) => void): HTMLElement {
  const active = app.active.value;
  const training = app.readOnly ? run.status === "running" : active?.id === run.id && active.activity !== "idle";
  const box = h("input", { type: "checkbox", checked: ticked, "aria-label": `Compare ${run.name}` });
  box.addEventListener("change", () => tick(run.id, box.checked));
  const name = h(
    "span",
    { class: "name" },
    h("a", { href: `#/runs/${encodeURIComponent(run.id)}${run.status === "finished" ? "/result" : ""}` }, run.name),
  );
  const folder = app.folders.value.some(({ record }) => record.id === run.id);
  const close = h("button", { type: "button", class: "quiet", "aria-label": `Close ${run.name}` }, "Close");
  close.addEventListener("click", () => {
    app.folders.value = app.folders.value.filter(({ record }) => record.id !== run.id);
    app.announce(`Closed ${run.name}. Its folder is as it was.`);
    app.stored.value++;
  });
  const remove = h(
    "button",
    { type: "button", class: "quiet", "aria-label": `Delete ${run.name}`, disabled: training },
    "Delete",
  );
  remove.addEventListener("click", async () => {
    const sure = await confirm(
      `Delete “${run.name}”?`,
      "This permanently deletes its adapter, checkpoints and curves.",
      "Delete",
    );
    if (!sure) return;
    try {
      await app.trainer.runs.remove(run.id);
    } catch (error) {
      app.report("remove", error);
    }
    app.announce(`Deleted ${run.name}.`);
    app.stored.value++;
  });
  const rename = h("button", { type: "button", class: "quiet", "aria-label": `Rename ${run.name}` }, "Rename");
  rename.addEventListener("click", () => renaming(app, run, name));
  const steps = run.phases.map(
    ({ method, global_step, max_steps }) =>
      `${METHOD_NAMES[method]} ${formatNumber(global_step)}${max_steps ? `/${formatNumber(max_steps)}` : ""}`,
  );
  return h(
    "li",
    {},
    h("label", { class: "tick" }, box),
    h(
      "div",
      { class: "words" },
      name,
      h(
        "span",
        { class: "about" },
        `${folder ? "Folder, read only · " : ""}${run.model} · ${run.data} · ${steps.join(", ")} · ${formatTime(run.created)}`,
      ),
    ),
    h("span", { class: "accuracy" }, run.accuracy === null ? "" : `${formatShare(run.accuracy)} right`),
    h(
      "span",
      { class: "status", "data-status": training ? "training" : run.status },
      training ? "training" : statusWords(run.status, folder),
    ),
    h("span", { class: "actions" }, ...(app.readOnly ? [] : folder ? [close] : [rename, remove])),
  );
}

/** Turns the name into a text field. Enter saves the name, Escape cancels. */
function renaming(app: App, run: RunSummary, name: HTMLElement): void {
  const before = [...name.childNodes];
  const input = h("input", { type: "text", value: run.name, "aria-label": "Name of the run", maxlength: 80 });
  let over = false;
  const end = async (keep: boolean) => {
    if (over) return;
    over = true;
    const text = input.value.trim();
    name.replaceChildren(...before);
    if (!keep || !text || text === run.name) return;
    try {
      await app.trainer.runs.rename(run.id, text);
      const active = app.active.value;
      if (active?.id === run.id) active.record.name = text;
    } catch (error) {
      app.report("rename", error);
    }
    app.stored.value++;
  };
  input.addEventListener("keydown", ({ key }) => {
    if (key === "Enter") void end(true);
    if (key === "Escape") void end(false);
  });
  input.addEventListener("blur", () => void end(true));
  fill(name, input);
  input.focus();
  input.select();
}
