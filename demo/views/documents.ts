import type { ChunkPairs, PairWriter, StoredDocument } from "../../src/client/types.ts";
import { counted, formatNumber } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { settled } from "../cell.ts";
import { chunkList } from "../documents/chunks.ts";
import { filesPart } from "../documents/files.ts";
import { making } from "../documents/making.ts";
import { chosen, curateOptions, whatToMake } from "../documents/options.ts";
import { pairList } from "../documents/pairs.ts";
import { writerPart } from "../documents/writer.ts";
import { fill, h, setIdle } from "../dom.ts";
import { confirm } from "../parts/dialog.ts";
import { problemLine } from "../parts/notice.ts";
import { part } from "../parts/part.ts";
import { problemOf } from "../problems.ts";
import { saveFile } from "../save-file.ts";
import type { View } from "./view.ts";

/** From documents to training rows: files, chunks, pairs, and "Train on these". */
export async function documentsView(app: App, signal: AbortSignal): Promise<View> {
  let documents: readonly StoredDocument[] = [];
  let pairs: readonly ChunkPairs[] = [];
  let writer: PairWriter | null = { kind: "model", model: { kind: "embedded" } };
  let busy = false;

  const said = h("div", { class: "said" });
  const facts = h("dl", { class: "facts" });
  const work = making(app, signal);
  const make = button("Make pairs", "primary wide", () => void run("make"));
  const curate = button("Rate and clean up", "secondary wide", () => void run("curate"));
  const train = button("Train on these", "primary wide", () => void trainOn());
  const download = button("Download as JSONL", "secondary wide", () => void save());

  const cleaning = curateOptions(() => show());
  const chunks = chunkList(app, signal);
  const list = pairList(app, (changed) => {
    pairs = pairs.map((one) => (one.chunk === changed.chunk ? changed : one));
    show();
  });
  const files = filesPart(app, signal, () => void load());
  const drawChunks = settled(50, signal, () => chunks.show(documents, writer, chosen.sizes));

  const show = () => {
    const kept = pairs.reduce((sum, one) => sum + one.kept.length, 0);
    const all = pairs.reduce((sum, one) => sum + one.kept.length + one.dropped.length, 0);
    fill(facts, ...factsOf(documents.length, pairs));
    setIdle(make, busy || documents.length === 0 || writer === null);
    setIdle(curate, busy || all === 0 || (writer === null && (chosen.rate || chosen.support)));
    for (const one of [train, download]) setIdle(one, busy || kept === 0);
    for (const one of [cleaning, curate, train, download]) one.hidden = all === 0;
    make.className = all === 0 ? "primary wide" : "secondary wide";
    train.textContent = kept > 0 ? `Train on these ${counted(kept, "pair")}` : "Train on these";
    files.show(documents);
    list.show(pairs);
    drawChunks();
  };

  const load = async () => {
    try {
      const found = await app.trainer.documents.list();
      if (signal.aborted) return;
      ({ documents, pairs } = found);
    } catch (error) {
      if (!signal.aborted) fill(said, problemLine("error", problemOf(error)));
    }
    if (!signal.aborted) show();
  };

  const run = async (what: "make" | "curate") => {
    if (!writer) return;
    if (what === "make" && pairs.some((one) => [...one.kept, ...one.dropped].some(({ edited }) => edited))) {
      const detail = "Pairs that you have changed by hand are made again from the model's replies.";
      if (!(await confirm("Make all pairs again?", detail, "Make again"))) return;
    }
    busy = true;
    fill(said);
    show();
    const { type, num_pairs, sizes, rate, threshold, support } = chosen;
    const by = writer;
    const open = (stop: AbortSignal) =>
      what === "make"
        ? app.trainer.documents.make({ writer: by, type, num_pairs, ...sizes }, { signal: stop })
        : app.trainer.documents.curate({ writer: by, threshold: rate ? threshold : null, support }, { signal: stop });
    const done = await work.follow(open, by.kind === "endpoint");
    if (signal.aborted) return;
    busy = false;
    await load();
    const kept = pairs.reduce((sum, one) => sum + one.kept.length, 0);
    if (done) app.announce(`${counted(kept, "pair")} kept.`);
  };

  const attempt = async (act: () => Promise<void>) => {
    try {
      await act();
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
    }
  };
  const save = () =>
    attempt(async () => {
      const { file } = await app.trainer.documents.rows(true);
      saveFile({ name: file.name, blob: file });
    });
  const trainOn = () =>
    attempt(async () => {
      const { file } = await app.trainer.documents.rows(false);
      app.offer = { file, model: writer?.kind === "model" ? writer.model : null };
      location.hash = "#/";
    });

  const who = writerPart(app, signal, (found) => {
    writer = found;
    show();
  });
  await load();
  const form = [
    part("Documents", files.element, "h1"),
    part("Who writes the pairs", who, "h1"),
    part("What to make", whatToMake(drawChunks), "h1"),
    part("Chunks", chunks.element, "h1"),
  ];
  const beside = [facts, make, work.element, cleaning, curate, train, download, said];
  return { title: "Documents", element: layout(form, beside, list.element) };
}

function layout(form: HTMLElement[], beside: HTMLElement[], pairs: HTMLElement): HTMLElement {
  const lead = "A model writes question-answer pairs about your documents. Look through them, then train on them.";
  return h(
    "div",
    { class: "view documents" },
    h("header", { class: "intro" }, h("h1", {}, "Training rows from your documents"), h("p", { class: "lead" }, lead)),
    h(
      "div",
      { class: "own-form" },
      h("div", { class: "choices" }, ...form),
      h("aside", { class: "summary", "aria-label": "Make and train" }, ...beside),
    ),
    pairs,
  );
}

/** Counts of documents, chunks and pairs, for a list of facts. */
function factsOf(documents: number, pairs: readonly ChunkPairs[]): HTMLElement[] {
  const [kept, dropped] = [pairs.flatMap((one) => one.kept).length, pairs.flatMap((one) => one.dropped).length];
  const chunks = pairs.filter((one) => one.kept.length + one.dropped.length > 0).length;
  const facts = { Documents: documents, "Chunks with pairs": chunks, "Pairs kept": kept, "Pairs dropped": dropped };
  return Object.entries(facts).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, formatNumber(value))]);
}

/** A button that keeps the focus while it is idle. */
function button(text: string, kind: string, handler: () => void): HTMLElement {
  const element = h("button", { type: "button", class: kind }, text);
  element.addEventListener("click", () => element.getAttribute("aria-disabled") !== "true" && handler());
  return element;
}
