import type { Series } from "../../src/report/metrics.ts";
import { X_AXES } from "../../src/report/positions.ts";
import { fill, h, uid } from "../dom.ts";
import { saveFile } from "../save-file.ts";
import { type ChartSpec, createCurve } from "./curve.ts";
import { csvFile, pngFile, svgFile } from "./files.ts";
import { keysOf } from "./keys.ts";
import type { ChartLink } from "./link.ts";
import { toolbar } from "./toolbar.ts";

const HEIGHTS = { least: 220, most: 560, around: 400 };

/**
 * One chart in a dialog, with its controls, and its numbers and picture to save.
 *
 * @param root of the document or of the shadow tree that holds the page's style
 * @returns redraws it with other series
 */
export function openChart(
  spec: ChartSpec,
  link: ChartLink,
  first: readonly Series[],
  root: Node,
  closed: () => void,
): (series: readonly Series[]) => void {
  const life = new AbortController();
  const height = Math.max(HEIGHTS.least, Math.min(HEIGHTS.most, innerHeight - HEIGHTS.around));
  const curve = createCurve(spec, link, life.signal, height);
  const keys = h("p", { class: "keys" });
  const hidden = h("p", { class: "about" });
  const title = uid("chart");
  let series = first;

  const file = (name: string, make: () => Promise<Blob> | Blob) => {
    const save = async () => saveFile({ name: `${slug(spec.title)}.${name}`, blob: await make() });
    return h("button", { type: "button", class: "secondary", on: { click: () => void save() } }, name.toUpperCase());
  };
  const unit = () => X_AXES.find(({ id }) => id === link.settings.value.by)!.unit;
  const dialog: HTMLDialogElement = h(
    "dialog",
    { class: "enlarged", "aria-labelledby": title },
    h(
      "div",
      { class: "row" },
      h("h2", { id: title }, spec.title),
      h("form", { method: "dialog" }, h("button", { class: "secondary small" }, "Close")),
    ),
    keys,
    curve.element,
    hidden,
    toolbar(link, life.signal),
    h(
      "div",
      { class: "actions" },
      h("span", { class: "about" }, "Save as"),
      file("csv", () => csvFile(series, unit())),
      file("svg", () => svgFile(spec, series, curve.plot()!, dialog)),
      file("png", () => pngFile(spec, series, curve.plot()!, dialog)),
    ),
  );
  const showText = () => {
    const plot = curve.plot();
    fill(keys, ...keysOf(series, plot, link));
    const few = plot?.hidden ?? 0;
    fill(hidden, few > 0 && `${few} values of 0 or less have no place on a logarithmic axis.`);
  };
  const update = (next: readonly Series[]) => {
    series = next;
    curve.update(series);
    curve.element.setAttribute("aria-label", spec.title);
    showText();
  };
  link.at.watch(life.signal, showText);
  link.settings.watch(life.signal, () => queueMicrotask(showText));
  new ResizeObserver(showText).observe(curve.element);
  dialog.addEventListener("close", () => {
    life.abort();
    dialog.remove();
    closed();
  });
  (root instanceof ShadowRoot ? root : document.body).append(dialog);
  dialog.showModal();
  update(first);
  return update;
}

function slug(title: string): string {
  return (
    title
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, "") || "chart"
  );
}
