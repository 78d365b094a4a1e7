import type { PushEvent, PushRequest } from "../../src/client/types.ts";
import { type PushFile, pushFiles } from "../../src/io/hub/push.ts";
import { exportFiles, openExport } from "../../src/session/export.ts";
import { adapterFolder } from "./adapter-folder.ts";
import type { Library } from "./library.ts";
import { nameOfModel } from "./recipes.ts";
import { reporting } from "./reporting.ts";
import { newestAdapter, type RunStore, type StoredRun } from "./runs.ts";
import { pieces } from "./zip.ts";

/** Pushes a run's adapter with its card, recipes and metrics. @throws as pushFiles */
export async function* pushRun(
  run: StoredRun,
  { repo, private: hidden, token }: PushRequest,
  { runs, library, signal }: { runs: RunStore; library: Library; signal: AbortSignal },
): AsyncGenerator<PushEvent> {
  yield* reporting(async (report: (event: PushEvent) => void) => {
    const model = await library.openModel(run.job.model, { signal, report: () => {} });
    const source = await openExport(model, await newestAdapter(run, runs));
    const base = nameOfModel(run.job.model);
    const files: PushFile[] = [];
    for await (const { name, content } of adapterFolder(
      run,
      repo,
      exportFiles(source, { format: "lora", name: repo, base, signal }),
    )) {
      const parts: Uint8Array<ArrayBuffer>[] = [];
      for await (const piece of pieces(content)) parts.push(new Uint8Array(piece));
      files.push({ path: name, content: new Blob(parts) });
    }
    const pushed = await pushFiles(files, {
      ...{ repo, private: hidden, token, signal, title: "Upload an adapter by qwench" },
      hubUrl: library.options.hubUrl ?? undefined,
      fetch: (input, init) => fetch(input, init), // must be called on the worker
      onProgress: (what, part) => report({ type: "progress", what, done: Math.round(100 * part), total: 100 }),
    });
    report({ type: "end", url: pushed.url, commit: pushed.commit });
  });
}
