import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { filePicker, labelled } from "../parts/choice.ts";
import { problemOf } from "../problems.ts";

/** Takes a file of rows: from this machine, pasted, or from an address. */
export function ownFile(app: App, signal: AbortSignal, took: (file: File) => void): HTMLElement {
  const fault = h("p", { class: "wrong", role: "alert" });
  const text = h("textarea", {
    rows: 5,
    spellcheck: "false",
    class: "yaml",
    placeholder: '{"question": "…", "answer": "…"}',
  });
  const address = h("input", {
    type: "text",
    inputmode: "url",
    autocomplete: "off",
    placeholder: "https://…/train.jsonl",
  });
  const use = h("button", { type: "button", class: "secondary" }, "Use these rows");
  const get = h("button", { type: "button", class: "secondary" }, "Fetch");
  use.addEventListener("click", () => {
    const file = pastedFile(text.value);
    if (typeof file === "string") return fill(fault, file);
    took(file);
  });
  get.addEventListener("click", async () => {
    get.disabled = true;
    fill(fault);
    try {
      const file = await app.trainer.data.fetch(address.value.trim());
      if (!signal.aborted) took(file);
    } catch (error) {
      if (!signal.aborted) fill(fault, problemOf(error).text);
    }
    get.disabled = false;
  });
  return h(
    "div",
    { class: "own-file" },
    h("p", { class: "about" }, "JSONL, CSV or Parquet. The file stays on this machine."),
    filePicker("Choose a file …", { accept: ".jsonl,.ndjson,.json,.csv,.tsv,.parquet" }, ([file]) => took(file)),
    h(
      "details",
      { class: "more" },
      h("summary", {}, "Paste rows, or fetch them"),
      labelled("Rows", text, "JSON Lines, a JSON list, or CSV with a heading line."),
      h("div", { class: "actions" }, use),
      labelled("Address of a file", address, "Fetched by this page; its server must allow that (CORS)."),
      h("div", { class: "actions" }, get),
      fault,
    ),
  );
}

/** Pasted text as a file of the format that it seems to have; a text for the user if it has none. */
export function pastedFile(text: string): File | string {
  const plain = text.trim();
  if (plain === "") return "Paste some rows first.";
  const type = plain.startsWith("{") ? "jsonl" : plain.startsWith("[") ? "json" : null;
  if (type) return new File([`${plain}\n`], `pasted.${type}`);
  const [head] = plain.split("\n");
  if (!plain.includes("\n")) return "One line is no table: paste a heading line and rows, or JSON.";
  return new File([`${plain}\n`], head.includes("\t") ? "pasted.tsv" : "pasted.csv");
}
