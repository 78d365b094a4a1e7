import { h, uid } from "../dom.ts";
import { takesDrops } from "../drop/files.ts";

interface Option<T extends string> {
  value: T;
  title: string;
  about: string;
}

/** Radio buttons as cards, each with a line that describes the choice. */
export function choice<T extends string>(
  legend: string,
  options: readonly Option<T>[],
  chosen: T,
  changed: (value: T) => void,
): HTMLFieldSetElement {
  const name = uid("choice");
  const cards = options.map(({ value, title, about }) => {
    const [label, detail] = [uid("label"), uid("about")];
    return h(
      "label",
      { class: "card-choice" },
      h("input", {
        type: "radio",
        name,
        value,
        checked: value === chosen,
        "aria-labelledby": label,
        "aria-describedby": detail,
        on: { change: () => changed(value) },
      }),
      h(
        "span",
        { class: "words" },
        h("span", { class: "title", id: label }, title),
        h("span", { class: "about", id: detail }, about),
      ),
    );
  });
  return h(
    "fieldset",
    { class: "choice" },
    h("legend", { class: "hidden" }, legend),
    h("div", { class: "cards" }, ...cards),
  );
}

/** A label above a control, with an explanation below. */
export function labelled(
  text: string,
  control: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement,
  about?: string,
): HTMLElement {
  control.id ||= uid("control");
  const detail = about ? h("p", { class: "about", id: uid("about") }, about) : null;
  if (detail) control.setAttribute("aria-describedby", detail.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, text), control, detail);
}

/** A drop-down list of values and their labels. */
export function select(
  options: readonly (readonly [value: string, text: string])[],
  chosen: string,
  changed: (value: string) => void,
): HTMLSelectElement {
  const element = h(
    "select",
    {},
    ...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  element.addEventListener("change", () => changed(element.value));
  return element;
}

/** A button that opens the file picker, and on which files can be dropped. The hidden input receives focus and keys. */
export function filePicker(
  text: string,
  attributes: { accept?: string; multiple?: boolean; webkitdirectory?: boolean },
  picked: (files: File[]) => void,
): HTMLElement {
  const input = h("input", { type: "file", class: "hidden", ...attributes });
  input.addEventListener("change", () => {
    if (input.files?.length) picked([...input.files]);
  });
  const label = h("label", { class: "file secondary" }, input, text);
  takesDrops(label, (files) => picked(attributes.multiple || attributes.webkitdirectory ? files : files.slice(0, 1)));
  return label;
}
