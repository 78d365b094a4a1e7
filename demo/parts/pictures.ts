import type { RunRecord } from "../../src/client/types.ts";
import { h } from "../dom.ts";

/** The images that a record names by their keys, as far as the run has pictures of them. */
export function pictures({ pictures: known = {} }: RunRecord, keys: readonly string[] = []): HTMLElement | null {
  const found = keys.filter((key) => known[key]?.startsWith("data:image/"));
  if (found.length === 0) return null;
  return h(
    "div",
    { class: "pictures" },
    ...found.map((key, i) => h("img", { src: known[key], alt: `Image ${i + 1}` })),
  );
}
