import { Zip, ZipPassThrough } from "fflate";
import type { ExportedFile, ExportKind } from "../../src/client/types.ts";
import { NotFoundError, UnsupportedError } from "../../src/errors.ts";
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, readAdapter } from "../../src/io/peft.ts";
import type { Folder } from "../../src/io/storage.ts";
import { ranges } from "../../src/platform/opfs-folder.ts";
import { findCheckpoint } from "../../src/train/checkpoint.ts";
import type { RunStore, StoredRun } from "./runs.ts";

/** The newest adapter of a run: of the phase that ended last, or the newest checkpoint after it. @throws {NotFoundError} */
export async function newestAdapter(run: StoredRun, runs: RunStore): Promise<Folder> {
  for (let phase = run.phases.length - 1; phase >= 0; phase--) {
    const folder = runs.folder(run.id, phase);
    if (phase < run.done && (await folder.exists(ADAPTER_WEIGHTS_FILE))) return folder;
    try {
      return (await findCheckpoint(folder, true)).folder;
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }
  throw new NotFoundError(`The run ${run.name} has no adapter yet: it has saved no checkpoint`);
}

/** A file of a run for its user. */
export async function exportRun(run: StoredRun, kind: ExportKind, runs: RunStore): Promise<ExportedFile> {
  const name = run.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+|-+$/g, "") || "qwench";
  switch (kind) {
    case "adapter": {
      const folder = await newestAdapter(run, runs);
      await readAdapter(folder); // what is damaged is not handed out
      const files = [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE];
      return { name: `${name}-adapter.zip`, type: "application/zip", blob: await zipped(folder, files) };
    }
    case "recipe": {
      const text = run.recipes.map((yaml, i) => `# Phase ${i + 1}: qwench ${run.phases[i].method}\n${yaml}`);
      const blob = new Blob([text.join("---\n")], { type: "application/yaml" });
      return { name: `${name}.yaml`, type: "application/yaml", blob };
    }
    default:
      throw new UnsupportedError(`Cannot export ${kind} yet`);
  }
}

/** Files of a folder as a zip without compression: weights do not shrink. */
async function zipped(folder: Folder, names: readonly string[]): Promise<Blob> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const zip = new Zip((error, chunk) => {
    if (error) throw error;
    parts.push(chunk as Uint8Array<ArrayBuffer>);
  });
  for (const name of names) {
    const file = new ZipPassThrough(name);
    zip.add(file);
    for await (const piece of ranges(await folder.open(name))) file.push(piece.slice());
    file.push(new Uint8Array(), true);
  }
  zip.end();
  return new Blob(parts, { type: "application/zip" });
}
