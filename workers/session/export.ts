import type { ExportedFile, ExportKind } from "../../src/client/types.ts";
import { renderReport } from "../../src/eval/report/report.ts";
import { INDEX_FILE, openCheckpoint, WEIGHTS_FILE } from "../../src/io/checkpoint.ts";
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, readAdapter } from "../../src/io/peft.ts";
import { encodeSafetensors } from "../../src/io/safetensors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { mergeAdapter } from "../../src/model/merge.ts";
import { opfsRoot, ranges } from "../../src/platform/opfs-folder.ts";
import { roomLeft } from "../../src/platform/quota.ts";
import type { Library } from "./library.ts";
import { newestAdapter, type RunStore, type StoredRun } from "./runs.ts";
import { EXPORTS } from "./storage.ts";
import { type ZipEntry, zipped } from "./zip.ts";

/** Small files of a base that its merged model needs too. */
const BESIDE_WEIGHTS = /\.(json|jinja|txt)$/;
const ZIP = "application/zip";

/** A file of a run for its user. Large ones are made on the disk. */
export async function exportRun(
  run: StoredRun,
  kind: ExportKind,
  { runs, library, signal }: { runs: RunStore; library: Library; signal: AbortSignal },
): Promise<ExportedFile> {
  const name = run.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+|-+$/g, "") || "qwench";
  switch (kind) {
    case "adapter":
      return written(`${name}-adapter.zip`, zipped(await adapterEntries(await newestAdapter(run, runs))), signal);
    case "merged": {
      const model = await library.openModel(run.job.model, { signal, report: () => {} });
      const checkpoint = await openCheckpoint(model);
      (await roomLeft()).check(checkpoint.totalBytes, `make the merged model of ${run.name}`);
      const entries = await mergedEntries(model, await mergeAdapter(checkpoint, await newestAdapter(run, runs)));
      return written(`${name}-merged.zip`, zipped(entries), signal);
    }
    case "report": {
      const blob = new Blob([reportOf(run)], { type: "text/html" });
      return { name: `${name}-report.html`, type: blob.type, blob };
    }
    case "recipe": {
      const parts = run.recipes.map((yaml, i) => `# Phase ${i + 1}: qwench ${run.phases[i].method}\n${yaml}`);
      const blob = new Blob([parts.join("---\n")], { type: "application/yaml" });
      return { name: `${name}.yaml`, type: blob.type, blob };
    }
  }
}

/** @throws {FormatError} a damaged adapter: that is not handed out */
async function adapterEntries(folder: Folder): Promise<ZipEntry[]> {
  await readAdapter(folder);
  const files = [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE];
  return Promise.all(files.map(async (name) => ({ name, content: ranges(await folder.open(name)) })));
}

async function mergedEntries(base: Folder, tensors: Awaited<ReturnType<typeof mergeAdapter>>): Promise<ZipEntry[]> {
  const names = (await base.list()).filter((name) => BESIDE_WEIGHTS.test(name));
  const small = names.filter((name) => name !== INDEX_FILE && name !== ADAPTER_CONFIG_FILE);
  const entries: ZipEntry[] = [];
  for (const name of small) entries.push({ name, content: ranges(await base.open(name)) });
  return [...entries, { name: WEIGHTS_FILE, content: encodeSafetensors(tensors, { format: "pt" }) }];
}

/** Writes a file into OPFS and hands it out from there; what was handed out before goes. */
async function written(name: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<ExportedFile> {
  await opfsRoot().removeFolder(EXPORTS);
  const folder = opfsRoot().folder(EXPORTS);
  await folder.write(name, untilAborted(content, signal));
  return { name, type: ZIP, blob: (await folder.blob(name)).slice(0, undefined, ZIP) };
}

async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  for await (const item of items) {
    signal.throwIfAborted();
    yield item;
  }
}

/** All phases in one report: steps of a later phase count on from those before. */
function reportOf(run: StoredRun): string {
  const before = run.phases.map((_, i) =>
    run.phases.slice(0, i).reduce((sum, { global_step }) => sum + global_step, 0),
  );
  const logs = run.logs.flatMap((records, i) =>
    records.map((record) => ({ ...record, step: record.step + before[i] })),
  );
  const completions = run.completions.map(({ phase, step, records }) => ({
    step: step + before[phase],
    completions: records.map((record) => ({ ...record, step: record.step + before[phase] })),
  }));
  const few =
    completions.length > 3 ? [completions[0], completions[completions.length >> 1], completions.at(-1)!] : completions;
  const accuracies = run.evaluations.map(({ stage, accuracy, problems }): [string, string] => [
    `accuracy, ${stage === "base" ? "before" : `after ${stage}`}`,
    `${(100 * accuracy).toFixed(1)} % of ${problems.length} held-out problems`,
  ]);
  return renderReport({
    title: `${run.name}: ${run.model} on ${run.data}`,
    subtitle: `${run.phases.map(({ method }) => method.toUpperCase()).join(", then ")}, ${run.status}, in a browser, begun ${new Date(run.created).toISOString().slice(0, 16).replace("T", " ")} UTC`,
    recipe: run.recipes.join("\n---\n"),
    logs,
    completions: few,
    environment: { browser: navigator.userAgent },
    summary: { ...Object.fromEntries(accuracies), seconds: Math.round(run.seconds) },
    alone: true,
  });
}
