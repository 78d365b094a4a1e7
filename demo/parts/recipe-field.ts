import type { FormField } from "../../src/client/types.ts";
import { fill, h, uid } from "../dom.ts";
import { words } from "../format.ts";

/** One recipe option as a control with its label, help and error. */
export interface FieldControl {
  element: HTMLElement;
  /** null: same as the default */
  set(value: unknown): void;
  fault(text: string | null): void;
  focus(): void;
}

/**
 * @param changed receives the typed text, or undefined to restore the default; the recipe's parser reads the text and reports
 *   errors
 */
export function fieldControl(field: FormField, changed: (value: unknown) => void): FieldControl {
  const [id, help, wrong] = [uid("field"), uid("help"), uid("wrong")];
  const label = [words(field.name), unitOf(field)].filter(Boolean).join(", ");
  const fault = h("p", { class: "wrong", id: wrong, role: "alert" });
  const about = h("p", { class: "about", id: help }, h("code", {}, field.name), ` ${field.help}`);
  const described = `${wrong} ${help}`;
  const setFault = (control: HTMLElement, text: string | null) => {
    fill(fault, text);
    if (text === null) control.removeAttribute("aria-invalid");
    else control.setAttribute("aria-invalid", "true");
  };

  if (field.type === "list" && field.choices) return listControl(field, label, about, fault, changed);

  if (field.type === "boolean" && !field.nullable) {
    const box = h("input", { type: "checkbox", id, "aria-describedby": described });
    box.addEventListener("change", () => changed(box.checked));
    return {
      element: h(
        "div",
        { class: "field check", "data-field": field.name },
        h("label", { for: id }, box, label),
        fault,
        about,
      ),
      set: (value) => {
        box.checked = Boolean(value ?? field.default);
      },
      fault: (text) => setFault(box, text),
      focus: () => box.focus(),
    };
  }

  const options = field.type === "boolean" ? ["true", "false"] : field.choices;
  if (options && field.type !== "list") {
    const list = h(
      "select",
      { id, "aria-describedby": described },
      field.nullable && h("option", { value: "" }, "Automatic"),
      ...options.map((value) => h("option", { value }, value)),
    );
    list.addEventListener("change", () => changed(list.value === "" ? null : list.value));
    return {
      element: h(
        "div",
        { class: "field", "data-field": field.name },
        h("label", { for: id }, label),
        list,
        fault,
        about,
      ),
      set: (value) => {
        list.value = String(value ?? field.default ?? "");
      },
      fault: (text) => setFault(list, text),
      focus: () => list.focus(),
    };
  }

  const numeric = field.type === "integer" || field.type === "number";
  const input = h("input", {
    type: "text",
    id,
    inputmode: numeric ? "decimal" : null,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: field.default === null ? (field.nullable ? "none" : "") : textOf(field.default),
    "aria-describedby": described,
  });
  input.addEventListener("input", () => changed(input.value.trim() === "" ? undefined : input.value.trim()));
  return {
    element: h(
      "div",
      { class: "field", "data-field": field.name },
      h("label", { for: id }, label),
      input,
      fault,
      about,
    ),
    set: (value) => {
      const text = value === undefined || value === null ? textOf(field.default) : textOf(value);
      // do not overwrite text that the user is typing
      if (document.activeElement !== input) input.value = text;
    },
    fault: (text) => setFault(input, text),
    focus: () => input.focus(),
  };
}

/** A choice of several names, as check boxes. */
function listControl(
  field: FormField,
  label: string,
  about: HTMLElement,
  fault: HTMLElement,
  changed: (value: unknown) => void,
): FieldControl {
  const boxes = field.choices!.map((value) => {
    const box = h("input", { type: "checkbox", value });
    box.addEventListener("change", () => changed(boxes.filter(({ checked }) => checked).map((one) => one.value)));
    return box;
  });
  const group = h(
    "fieldset",
    { class: "field list", "data-field": field.name, "aria-describedby": `${fault.id} ${about.id}` },
    h("legend", {}, label),
    h("div", { class: "boxes" }, ...boxes.map((box) => h("label", {}, box, box.value))),
    fault,
    about,
  );
  return {
    element: group,
    set: (value) => {
      const names = Array.isArray(value ?? field.default) ? ((value ?? field.default) as string[]) : [];
      for (const box of boxes) box.checked = names.includes(box.value);
    },
    fault: (text) => fill(fault, text),
    focus: () => boxes[0]?.focus(),
  };
}

/** The unit, unless the name already contains it. */
function unitOf({ name, unit }: FormField): string | null {
  return unit === null || name.split("_").includes(unit.split(" ").at(-1)!) ? null : unit;
}

/** A value as the user would type it. */
function textOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
