import type { Transformer } from "../model/transformer.ts";

/**
 * What a policy is compared with, as TRL has it: the base where the adapter is a new one, the adapter as it is before the
 * first step where training goes on from one. A run that resumes has loaded that one again, and not its checkpoint yet.
 */
export function referenceOf(model: Transformer, continued: boolean): Transformer {
  return continued ? model.withFrozenAdapter() : model.withoutAdapter();
}
