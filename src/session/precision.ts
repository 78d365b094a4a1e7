import type { MatmulPrecision } from "../gpu/context.ts";
import type { Gpu } from "../gpu/device.ts";
import type { WeightDType } from "../model/slots.ts";
import type { SftRecipe } from "../recipe/recipe.ts";

/**
 * The precision of products.
 *
 * @param stored how the model's projections are stored
 */
export function precisionOf(
  asked: SftRecipe["matmul_precision"],
  { features, profile }: Pick<Gpu, "features" | "profile">,
  stored: WeightDType,
): MatmulPrecision {
  const able = features.matrix?.type === "f16";
  if (asked === "auto") return able && profile.kind === "gpu" && stored !== "f32" ? "high" : "highest";
  return able ? asked : "highest";
}
