import { describe, expect, it } from "vitest";
import { ignoredNames, oldNames, refusedNames } from "../../src/recipe/names.ts";
import { fieldsOf, methods } from "../../src/recipe/recipe.ts";
import { namesOfTrl, trlFields } from "./trl-fields.ts";

describe.each(methods)("every name that TRL 1.13 has for %s", (method) => {
  const ours = new Set(fieldsOf(method).map(({ name }) => name));
  const old = new Set(oldNames.map(({ name }) => name));
  const ignored = ignoredNames(method);
  const refused = refusedNames(method);

  it("is a field, accepted with a note, or refused with the reason", () => {
    const unknown = [...namesOfTrl(method)].filter(
      (name) => !ours.has(name) && !old.has(name) && !(name in ignored) && !(name in refused),
    );
    expect(unknown).toEqual([]);
  });

  it("is only one of these", () => {
    const twice = [...namesOfTrl(method)].filter(
      (name) => [ours.has(name), name in ignored, name in refused].filter(Boolean).length > 1,
    );
    expect(twice).toEqual([]);
  });

  it("includes transformers' own", () => {
    const known = namesOfTrl(method);
    expect(trlFields.classes.TrainingArguments.filter((name) => !known.has(name))).toEqual([]);
    expect(known.size).toBeGreaterThan(150);
    expect(trlFields.versions).toEqual({ trl: "1.13.0", transformers: "5.18.0" });
  });
});
