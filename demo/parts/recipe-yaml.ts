import type { Method } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { problemOf } from "../problems.ts";
import { saveFile } from "../save-file.ts";
import { filePicker, labelled } from "./choice.ts";

/** Exports and imports a recipe as YAML. */
interface RecipeYaml {
  element: HTMLElement;
  /** shows another recipe when the panel is open */
  refresh(recipe: Record<string, unknown>): void;
}

export function recipeYaml(app: App, method: Method, read: (recipe: Record<string, unknown>) => void): RecipeYaml {
  let recipe: Record<string, unknown> = {};
  const text = h("textarea", { rows: 12, spellcheck: "false", class: "yaml" });
  const said = h("p", { class: "about", role: "status" });
  const fault = h("p", { class: "wrong", role: "alert" });

  const write = async () => {
    text.value = await app.trainer.recipe.format(recipe, method);
    fill(fault);
  };
  const apply = async () => {
    try {
      const parsed = await app.trainer.recipe.parse(text.value, method);
      fill(fault);
      fill(said, ["The form now shows this recipe.", ...parsed.notes].join(" "));
      read(parsed.recipe);
    } catch (error) {
      fill(said);
      fill(fault, problemOf(error).text);
    }
  };
  const open = async ([file]: File[]) => {
    text.value = await file.text();
    await apply();
  };
  const button = (name: string, act: () => void) =>
    h("button", { type: "button", class: "secondary", on: { click: act } }, name);
  const details = h(
    "details",
    { class: "more" },
    h("summary", {}, "As YAML"),
    labelled(
      `${METHOD_NAMES[method]} recipe`,
      text,
      "The names are TRL's and PEFT's, so the same file works with TRL on a cluster.",
    ),
    fault,
    said,
    h(
      "div",
      { class: "actions" },
      button("Use this text", () => void apply()),
      filePicker("Open a file …", { accept: ".yaml,.yml,.json" }, (files) => void open(files)),
      button("Save as a file", () =>
        saveFile({ name: `${method}.yaml`, blob: new Blob([text.value], { type: "application/yaml" }) }),
      ),
    ),
  );
  details.addEventListener("toggle", () => {
    if (details.open) void write();
  });
  return {
    element: details,
    refresh(next) {
      recipe = next;
      if (details.open && document.activeElement !== text) void write();
    },
  };
}
