import { expect, it } from "vitest";
import { shapeOf } from "../../src/cli/commands/recipe.ts";
import { readPublished } from "../../src/cli/sources/published.ts";
import { RECIPES } from "../../src/recipe/published.ts";
import { forecastOf } from "../../src/session/recipe-forecast.ts";
import { formatBytes } from "../../src/text/bytes.ts";
import { run } from "../cli/e2e.ts";

it.each(RECIPES.map((recipe) => [recipe.name, recipe] as const))(
  "%s is forecast and runs for two steps",
  async (name, of) => {
    const { method, longest, image, forecast } = of;
    const { recipe } = readPublished(name, method, {});
    const { peak } = await forecastOf(recipe, method, { shape: shapeOf(recipe, image !== undefined), longest, image });
    expect(formatBytes(peak)).toBe(forecast); // the README's figure
    const { code, said } = await run(method, "--recipe", name, "--dry_run", "tiny");
    expect(said).toContain(`Forecast from the shape of ${recipe.model_name_or_path}`);
    expect(said).toMatch(new RegExp(`^peak +${forecast.replace(".", "\\.")}$`, "m"));
    expect(said).toMatch(/^step 2\/2 .*loss −?[\d.e-]+ /m);
    expect(said).toMatch(/^Done: step 2/m);
    expect(code).toBe(0);
  },
);
