import type { RunEvent } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { formatCount } from "../../src/text/numbers.ts";
import { h, setText, uid } from "../dom.ts";

type Progress = Pick<Extract<RunEvent, { type: "progress" }>, "what" | "done" | "total"> & { unit?: string };

/** A progress bar with a line that names the current activity. */
interface ProgressBar {
  element: HTMLElement;
  set(progress: Progress): void;
}

/** @param after activity to show after a download or file is complete, by unit, until the next event */
export function progressBar(after: Record<string, string> = {}): ProgressBar {
  const id = uid("progress");
  const text = h("span", { class: "what", id });
  const bar = h("progress", { max: 1, "aria-labelledby": id });
  return {
    element: h("div", { class: "progress" }, text, bar),
    set({ what, done, total, unit }) {
      if (total !== null && done >= total && after[unit ?? ""]) {
        setText(text, after[unit ?? ""]);
        bar.removeAttribute("value");
        return;
      }
      const size = unit === "bytes" ? formatFileSize : formatCount;
      const of = total === null ? (done > 0 ? size(done) : "") : `${size(done)} of ${size(total)}`;
      const name = unit === undefined || unit === "bytes" || what.includes(unit) ? "" : ` ${unit}`;
      setText(text, [capital(what), of && `${of}${name}`].filter(Boolean).join(": "));
      if (total) bar.value = done / total;
      else bar.removeAttribute("value");
    },
  };
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
