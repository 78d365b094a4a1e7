import type {
  ChatEvent,
  ChatRequest,
  DataPreview,
  DataSource,
  DeviceInfo,
  ExportedFile,
  ExportKind,
  FormField,
  Job,
  JobPlan,
  Method,
  ModelSource,
  Preset,
  RunEvent,
  RunRecord,
  RunSummary,
  StorageUsage,
} from "../../src/client/types.ts";
import type { TrainerService, WorkerOptions } from "../../src/client/wire.ts";
import { QwenchError, RecipeError } from "../../src/errors.ts";
import { storageOf } from "../../src/session/open.ts";
import { chat } from "./chat.ts";
import { GpuHolder } from "./gpu.ts";
import { Library } from "./library.ts";
import { takeLock } from "./locks.ts";
import { asProgress } from "./phase.ts";
import { planJob } from "./plan.ts";
import { PRESETS } from "./presets.ts";
import { previewRows } from "./preview.ts";
import { formatForm, formFields, nameOfData, nameOfModel, parseForm, phaseRecipe, phaseYaml } from "./recipes.ts";
import { reporting, stoppable } from "./reporting.ts";
import { trainRun } from "./run.ts";
import { newestAdapter, newRun, RunStore, summaryOf } from "./runs.ts";
import { removeOldExports, removeRun, removeStored, storageUsage } from "./storage.ts";

/** All that a page may ask of the worker. */
export class TrainerSession implements TrainerService {
  private begun: { library: Library; holder: GpuHolder } | null = null;
  private readonly runs = new RunStore();

  async begin(options: WorkerOptions, lost: (why: string) => void): Promise<void> {
    this.begun = { library: new Library(options), holder: new GpuHolder(lost) };
    // absent where the page is not secure; there is no WebGPU either, and `device` says so
    if (navigator.locks) await takeLock(options.lock, "This worker is in use already");
    removeOldExports().catch(() => {}); // they take room, and no more than that
  }

  device(): Promise<DeviceInfo> {
    return this.parts.holder.info();
  }

  async fields(method: Method): Promise<FormField[]> {
    return formFields(method);
  }

  async presets(): Promise<Preset[]> {
    return [...PRESETS];
  }

  async parse(input: Record<string, unknown> | string, method: Method) {
    return parseForm(input, method);
  }

  async format(recipe: Record<string, unknown>, method: Method): Promise<string> {
    return formatForm(recipe, method);
  }

  async preview(source: DataSource): Promise<DataPreview> {
    const { library } = this.parts;
    return previewRows(await library.openRows(source, "train", { report: () => {} }));
  }

  usage(): Promise<StorageUsage> {
    return storageUsage(this.runs);
  }

  removeStored(id: string): Promise<void> {
    return removeStored(id, this.runs);
  }

  download(source: ModelSource | DataSource, as: "model" | "data", asked: AbortSignal | null): AsyncIterable<RunEvent> {
    const { library } = this.parts;
    return stoppable(
      (signal) =>
        reporting(async (report: (event: RunEvent) => void) => {
          const fetching = { signal, report: asProgress(report, "bytes") };
          if (as === "model") await library.openModel(source as ModelSource, fetching);
          else await library.openRows(source as DataSource, "train", fetching);
        }),
      asked,
    );
  }

  plan(job: Job, signal: AbortSignal | null): Promise<JobPlan> {
    return planJob(job, { ...this.parts, signal: signal ?? new AbortController().signal });
  }

  async list(): Promise<RunSummary[]> {
    return (await this.runs.list()).map(summaryOf);
  }

  get(id: string): Promise<RunRecord> {
    return this.runs.get(id);
  }

  remove(id: string): Promise<void> {
    return removeRun(id, this.runs);
  }

  rename(id: string, name: string): Promise<void> {
    return this.runs.change(id, { name });
  }

  async stop(id: string): Promise<void> {
    const { status } = await this.runs.get(id);
    if (status === "running") throw new QwenchError("Cannot stop a run while it is trained: pause it first");
    if (status !== "finished") await this.runs.change(id, { status: "stopped" });
  }

  async create(job: Job): Promise<string> {
    if (job.phases.length === 0) throw new RecipeError("Cannot train: the job has no phase");
    const recipes = job.phases.map((_, i) => phaseRecipe(job, i)); // refused before anything is copied
    const { library } = this.parts;
    const kept = await library.keep(job);
    const id = `${Date.now().toString(36)}-${crypto.randomUUID().slice(0, 8)}`;
    const data = [...new Set(job.phases.map((phase) => nameOfData(phase.data)))].join(", ");
    await this.runs.put(
      newRun(id, kept, { model: nameOfModel(job.model), data, recipes: await Promise.all(recipes.map(phaseYaml)) }),
    );
    return id;
  }

  start(id: string, asked: AbortSignal | null): AsyncIterable<RunEvent> {
    return stoppable((signal) => trainRun({ id, runs: this.runs, ...this.parts, signal }), asked);
  }

  chat(request: ChatRequest, asked: AbortSignal | null): AsyncIterable<ChatEvent> {
    return stoppable((signal) => this.answer(request, signal), asked);
  }

  async export(id: string, kind: ExportKind, asked: AbortSignal | null): Promise<ExportedFile> {
    const signal = asked ?? new AbortController().signal;
    const { library } = this.parts;
    const { exportRun } = await import("./export.ts");
    return exportRun(await this.runs.get(id), kind, { runs: this.runs, library, signal });
  }

  private async *answer(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatEvent> {
    let adapter = null;
    const run = request.run ? await this.runs.get(request.run) : null;
    if (request.adapter && run) {
      const folder = await newestAdapter(run, this.runs);
      adapter = { folder, name: folder.path };
    }
    // the base as it was trained on: the whole one may not fit
    const storage = run ? storageOf(phaseRecipe(run.job, 0).recipe) : {};
    yield* chat({ request, adapter, storage, ...this.parts, signal });
  }

  private get parts() {
    if (!this.begun) throw new QwenchError("The worker was asked before it was told where things are");
    return this.begun;
  }
}
