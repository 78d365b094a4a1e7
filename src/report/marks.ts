import { escapeHtml } from "../text/html.ts";
import type { Mark } from "./plot.ts";

/** A mark as SVG. */
export function markSvg(mark: Mark): string {
  const attributes = Object.entries(mark)
    .filter(([name]) => !["kind", "text", "anchor"].includes(name))
    .map(([name, value]) => {
      const key = mark.kind === "dot" && (name === "x" || name === "y") ? `c${name}` : name;
      return `${key}="${typeof value === "number" ? Number(value.toFixed(1)) : escapeHtml(value)}"`;
    })
    .join(" ");
  if (mark.kind === "text") return `<text ${attributes} text-anchor="${mark.anchor}">${escapeHtml(mark.text)}</text>`;
  return mark.kind === "dot" ? `<circle ${attributes} r="2.2"/>` : `<${mark.kind} ${attributes}/>`;
}
