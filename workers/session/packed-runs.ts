import type { ExportedFile } from "../../src/client/types.ts";
import { archiveEntries, readArchive } from "./run-archive.ts";
import type { RunStore, StoredRun } from "./runs.ts";
import { zipped } from "./zip.ts";

const ZIP = "application/zip";

/** A run as one file. */
export async function packRun(run: StoredRun, runs: RunStore): Promise<ExportedFile> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of zipped(archiveEntries(run, (phase) => runs.folder(run.id, phase)))) {
    parts.push(new Uint8Array(piece));
  }
  const name = run.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+|-+$/g, "") || "qwench";
  return { name: `${name}-run.zip`, type: ZIP, blob: new Blob(parts, { type: ZIP }) };
}

/** Adds a packed run to the history. @returns its id; @throws {FormatError} */
export async function unpackRun(file: File, runs: RunStore): Promise<string> {
  const id = `${Date.now().toString(36)}-${crypto.randomUUID().slice(0, 8)}`;
  const { run, adapters } = readArchive(new Uint8Array(await file.arrayBuffer()), file.name, id);
  for (const [phase, files] of adapters) {
    for (const [name, content] of files) await runs.folder(id, phase).write(name, content);
  }
  await runs.put(run);
  return id;
}
