import { fill, h, uid } from "../dom.ts";

/** A plain text area for code, with numbered lines. Tab moves the focus, as everywhere; Enter keeps the indent. */
interface CodeArea {
  element: HTMLElement;
  area: HTMLTextAreaElement;
  /** replaces the text */
  set(text: string): void;
  /** marks a line, from 1; null: none */
  mark(line: number | null): void;
}

export function codeArea(label: string, changed: () => void): CodeArea {
  const area = h("textarea", {
    id: uid("code"),
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    wrap: "off",
    rows: 16,
  });
  const numbers = h("div", { class: "numbers", "aria-hidden": "true" });
  let [lines, marked] = [0, 0];
  const count = () => {
    const now = area.value.split("\n").length;
    if (now === lines && marked === 0) return;
    lines = now;
    fill(
      numbers,
      ...Array.from({ length: lines }, (_, i) => h("span", { class: i + 1 === marked ? "bad" : null }, i + 1)),
    );
  };
  area.addEventListener("input", () => {
    marked = 0;
    lines = 0;
    count();
    changed();
  });
  area.addEventListener("scroll", () => {
    numbers.style.transform = `translateY(${-area.scrollTop}px)`;
  });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey) return;
    const before = area.value.slice(0, area.selectionStart);
    const line = before.slice(before.lastIndexOf("\n") + 1);
    const indent = /^ */.exec(line)![0] + (/[{([]\s*$/.test(line) ? "  " : "");
    event.preventDefault();
    area.setRangeText(`\n${indent}`, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return {
    element: h(
      "div",
      { class: "field code-area" },
      h("label", { for: area.id }, label),
      h("div", { class: "lines" }, h("div", { class: "gutter" }, numbers), area),
    ),
    area,
    set(text) {
      area.value = text;
      marked = 0;
      lines = 0;
      count();
    },
    mark(line) {
      marked = line ?? 0;
      lines = 0;
      count();
    },
  };
}
