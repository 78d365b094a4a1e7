import type { FolderFile } from "../../src/client/types.ts";
import { counted } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";

/** Folders within runs that tell nothing about them. */
const SKIPPED = /^(\.|checkpoint-|node_modules$|wandb$)/;
/** Files that tell about a run, or that its result exists. */
const TELLING =
  /^(run\.json|metrics\.jsonl|completions_\d+\.jsonl|adapter_model\.safetensors|model\.safetensors(\.index\.json)?)$/;
/** JSON files that are no evaluations, and can be large. */
const OTHERS = /^(tokenizer|vocab|config|added_tokens|special_tokens)|_config\.json$|_state\.json$|\.index\.json$/;

/** Those files of a folder that a run's page needs. */
export function tellingFiles(files: readonly File[]): FolderFile[] {
  return files.flatMap((file) => {
    const path = file.webkitRelativePath || file.name;
    const [name, ...folders] = path.split("/").reverse();
    if (folders.some((folder) => SKIPPED.test(folder))) return [];
    const evaluation = name.endsWith(".json") && !OTHERS.test(name);
    return TELLING.test(name) || evaluation ? [{ path, file }] : [];
  });
}

/**
 * Shows the command line's runs of a folder beside the page's own, until the tab is closed. A folder that is opened again is
 * read again.
 *
 * @throws there is no run in it
 */
export async function openFolder(app: App, files: readonly File[]): Promise<void> {
  const folder = (files[0].webkitRelativePath || files[0].name).split("/")[0];
  const runs = await app.trainer.runs.read(tellingFiles(files)).catch((error: Error) => {
    if (error.name !== "NotReadableError") throw error;
    throw new Error(`A file of ${folder} changed while it was read. Open the folder again.`);
  });
  if (runs.length === 0)
    throw new Error(
      `There is no run in ${folder}: the folder of a run has metrics.jsonl or run.json. Open the --output_dir of a run, or a folder above it.`,
    );
  const fresh = new Set(runs.map(({ record }) => record.id));
  app.folders.value = [...app.folders.value.filter(({ record }) => !fresh.has(record.id)), ...runs];
  app.stored.value++;
  app.announce(`${counted(runs.length, "run")} of ${folder} opened.`);
  if (runs.length === 1) location.hash = `#/runs/${encodeURIComponent(runs[0].record.id)}`;
}
