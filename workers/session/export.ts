import type { ExportedFile, ExportKind } from "../../src/client/types.ts";
import { NotFoundError } from "../../src/errors.ts";
import { opfsRoot } from "../../src/platform/browser/opfs-folder.ts";
import { roomLeft } from "../../src/platform/browser/quota.ts";
import { stageName } from "../../src/report/names.ts";
import { renderReport } from "../../src/report/training.ts";
import {
  type ExportFormat,
  encodeGgufLora,
  exportFiles,
  type GgufQuantization,
  openExport,
} from "../../src/session/export.ts";
import { formatShare } from "../../src/text/numbers.ts";
import { adapterFolder, recipeFiles } from "./adapter-folder.ts";
import type { Library } from "./library.ts";
import { nameOfModel } from "./recipes.ts";
import { newestAdapter, type RunStore, type StoredRun } from "./runs.ts";
import { EXPORTS } from "./storage.ts";
import { pieces, zipped } from "./zip.ts";

const ZIP = "application/zip";

/** Makes a file of a run for the user. Large files are made on disk. */
export async function exportRun(
  run: StoredRun,
  kind: ExportKind,
  { runs, library, signal }: { runs: RunStore; library: Library; signal: AbortSignal },
): Promise<ExportedFile> {
  const name = run.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+|-+$/g, "") || "qwench";
  const gguf = async (quantization: GgufQuantization) => {
    for await (const { name: file, content } of await files("gguf", quantization))
      return written(file, pieces(content), signal);
    throw new NotFoundError(`Cannot make a GGUF of ${run.name}: the export has no files`);
  };
  const files = async (format: ExportFormat, quantization?: GgufQuantization) => {
    const model = await library.openModel(run.job.model, { signal, report: () => {} });
    const source = await openExport(model, await newestAdapter(run, runs));
    if (format !== "lora")
      (await roomLeft()).check(source.checkpoint.totalBytes, `make the merged model of ${run.name}`);
    return exportFiles(source, { format, quantization, name, base: nameOfModel(run.job.model), signal });
  };
  switch (kind) {
    case "adapter":
      return written(`${name}-adapter.zip`, zipped(adapterFolder(run, name, await files("lora"))), signal);
    case "merged":
      return written(`${name}-merged.zip`, zipped(await files("merged_16bit")), signal);
    case "merged_4bit":
      return written(`${name}-4bit.zip`, zipped(await files("merged_4bit")), signal);
    case "gguf":
      return gguf("q8_0");
    case "gguf_f16":
    case "gguf_bf16":
    case "gguf_q4_0":
      return gguf(kind.slice("gguf_".length) as GgufQuantization);
    case "gguf_lora": {
      const model = await library.openModel(run.job.model, { signal, report: () => {} });
      const { checkpoint, adapter } = await openExport(model, await newestAdapter(run, runs));
      return written(`${name}-lora-F32.gguf`, await encodeGgufLora(checkpoint, adapter!, name), signal);
    }
    case "report": {
      const blob = new Blob([reportOf(run)], { type: "text/html" });
      return { name: `${name}-report.html`, type: blob.type, blob };
    }
    case "recipe": {
      const recipes = recipeFiles(run);
      if (recipes.length > 1) return written(`${name}-recipes.zip`, zipped(listed(recipes)), signal);
      const blob = new Blob(
        recipes.map(({ content }) => content),
        { type: "application/yaml" },
      );
      return { name: `${name}.yaml`, type: blob.type, blob };
    }
  }
}

async function* listed<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** Writes a file into OPFS and returns it from there. Deletes files that were returned earlier. */
async function written(name: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<ExportedFile> {
  await opfsRoot().removeFolder(EXPORTS);
  const folder = opfsRoot().folder(EXPORTS);
  await folder.write(name, untilAborted(content, signal));
  const type = name.endsWith(".zip") ? ZIP : "application/octet-stream";
  return { name, type, blob: (await folder.blob(name)).slice(0, undefined, type) };
}

async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  for await (const item of items) {
    signal.throwIfAborted();
    yield item;
  }
}

/** All phases in one report. Steps of a later phase continue the count of the earlier phases. */
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
  const accuracies = run.evaluations.map(({ accuracy, problems, ...of }): [string, string] => [
    `accuracy, ${stageName(of)}`,
    `${formatShare(accuracy, 1)} of ${problems.length} held-out problems`,
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
