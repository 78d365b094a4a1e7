import { UnsupportedError } from "../errors.ts";
import { changesTower } from "../model/adapters/targets.ts";
import type { OpenBase } from "./open.ts";

/** @throws {UnsupportedError} an adapter that changes the vision tower: the reference would need another tower */
export function refuseTower({ config, lora }: Pick<OpenBase, "config" | "lora">): void {
  if (!lora || !changesTower(config, lora)) return;
  throw new UnsupportedError(
    "Cannot go on from an adapter of the vision tower in this method, which keeps the tower frozen: merge the adapter first with qwench export, and train on the merged model",
  );
}
