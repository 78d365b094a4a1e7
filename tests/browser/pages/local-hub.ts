import { createTrainer as create, type TrainerOptions } from "../../../src/client.ts";

/** The page's trainer with the hub of the address's `?hub=`. */
export function createTrainer(options: TrainerOptions) {
  const hubUrl = new URLSearchParams(location.search).get("hub") ?? undefined;
  return create({ ...options, ...(hubUrl && { hubUrl }) });
}
