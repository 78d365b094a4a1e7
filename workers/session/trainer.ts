import type {
  ChatEvent,
  ChatRequest,
  DataSource,
  DeviceInfo,
  ExportedFile,
  ExportKind,
  ForecastEvent,
  Job,
  JobPlan,
  ModelSource,
  PairsEvent,
  Preset,
  PushEvent,
  PushRequest,
  RewardSandbox,
  RunEvent,
  Stream,
} from "../../src/client/types.ts";
import type { TrainerService, WorkerOptions } from "../../src/client/wire.ts";
import { QwenchError, RecipeError } from "../../src/errors.ts";
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE } from "../../src/io/peft.ts";
import { ranges } from "../../src/platform/browser/opfs-folder.ts";
import { checkSecure } from "../../src/platform/browser/secure.ts";
import { chat } from "./chat.ts";
import { adapterAt, keptAdapters } from "./checkpoints.ts";
import type { DocumentDesk } from "./documents.ts";
import { forecastJob, planJob } from "./forecast.ts";
import { GpuHolder } from "./gpu.ts";
import { textStorage } from "./kept-text.ts";
import { Known } from "./known-rows.ts";
import { Library } from "./library.ts";
import { takeLock } from "./locks.ts";
import { asProgress } from "./phase.ts";
import { PRESETS } from "./presets.ts";
import { previewRows } from "./preview.ts";
import { formatForm, formFields, nameOfData, nameOfModel, parseForm, phaseRecipe, phaseYaml } from "./recipes.ts";
import { reporting, stoppable } from "./reporting.ts";
import { judgePlatform, RewardDesk } from "./reward-platform.ts";
import { rewardRows } from "./reward-rows.ts";
import { trainRun } from "./run.ts";
import { evaluateRun, savedSteps } from "./run-evaluation.ts";
import { newestAdapter, newRun, RunStore, summaryOf } from "./runs.ts";
import { removeOldExports, removeRun, removeStored, storageUsage } from "./storage.ts";

/** Properties that only data sources have. */
const OF_DATA = ["split", "config", "columns", "rows", "file"];

interface Asked {
  signal?: AbortSignal;
}

/** The trainer of a page, in its worker. */
export class TrainerSession implements TrainerService {
  private begun: { library: Library; holder: GpuHolder; rewards: RewardDesk } | null = null;
  private readonly store = new RunStore();
  private desks: DocumentDesk | null = null;
  private readonly known = new Known();

  async begin(
    options: WorkerOptions,
    lost: (why: string) => void,
    sandbox: RewardSandbox | null = null,
  ): Promise<void> {
    const rewards = new RewardDesk(options.assets, sandbox);
    this.begun = { library: new Library(options), holder: new GpuHolder(lost), rewards };
    // absent in an insecure context, which has no WebGPU either; `device` reports that
    if (navigator.locks) await takeLock(options.lock, "This worker is already in use");
    removeOldExports().catch(() => {}); // a failure only wastes space
  }

  device(): Promise<DeviceInfo> {
    return this.parts.holder.info();
  }

  readonly recipe: TrainerService["recipe"] = {
    fields: async (method) => formFields(method),
    presets: async () => [...PRESETS, ...((await import("./published.json")).default as Preset[])],
    parse: async (input, method) => parseForm(input, method),
    format: (recipe, method) => formatForm(recipe, method),
  };

  readonly data: TrainerService["data"] = {
    preview: async (source) => {
      const { library } = this.parts;
      return previewRows(await library.openRows(source, "train", { report: () => {} }));
    },
    see: async (source, as) => {
      const { library } = this.parts;
      return (await import("./see.ts")).seePhase(library, source, as);
    },
    fetch: async (url) => (await import("./see.ts")).fetchFile(url),
    rewardRows: async (source, recipe, count) => {
      const { library } = this.parts;
      return rewardRows(await library.openRows(source, "train", { report: () => {} }), recipe, count);
    },
    tryJudge: async (fields, { judge = null, ...question }) => {
      const { tryJudge } = await import("./judge-trial.ts");
      return tryJudge(fields, question, judgePlatform(judge?.key ?? null));
    },
  };

  // their engine is loaded when the page first needs it
  readonly documents: TrainerService["documents"] = {
    list: async () => (await this.desk()).list(),
    add: async (document, file) => (await this.desk()).add(document, file),
    remove: async (name) => (await this.desk()).remove(name),
    chunks: async (name, writer, sizes) => (await this.desk()).chunks(name, writer, sizes),
    make: (request, asked) => this.atDesk((desk, signal) => desk.make(request, { signal }), asked),
    curate: (request, asked) => this.atDesk((desk, signal) => desk.curate(request, { signal }), asked),
    change: async (chunk, pair, to) => (await this.desk()).change(chunk, pair, to),
    rows: async (metadata) => (await this.desk()).rows(metadata),
  };

  readonly storage: TrainerService["storage"] = {
    usage: () => storageUsage(this.store),
    remove: (id) => {
      this.known.forgetModels();
      return removeStored(id, this.store);
    },
  };

  readonly runs: TrainerService["runs"] = {
    list: async () => (await this.store.list()).map(summaryOf),
    get: (id) => this.store.get(id),
    remove: (id) => removeRun(id, this.store),
    rename: (id, name) => this.store.change(id, { name }),
    create: (job) => this.create(job),
    start: (id, asked) => {
      this.parts.rewards.judge = asked?.judge ?? null;
      this.known.forgetModels(); // the run downloads its model
      return stoppable((signal) => trainRun({ id, runs: this.store, ...this.parts, signal }), asked?.signal);
    },
    stop: async (id) => {
      const { status } = await this.store.get(id);
      if (status === "running") throw new QwenchError("Cannot stop a run while it is training: pause it first");
      if (status !== "finished") await this.store.change(id, { status: "stopped" });
    },
    checkpoints: async (id) => keptAdapters(await this.store.get(id), this.store),
    pack: async (id) => (await import("./packed-runs.ts")).packRun(await this.store.get(id), this.store),
    unpack: async (file) => (await import("./packed-runs.ts")).unpackRun(file, this.store),
    read: async (files) => (await import("./run-folders.ts")).readRunFolders(files),
    saved: async (id) => savedSteps(await this.store.get(id), this.store),
    evaluate: (id, { signal, at } = {}) =>
      stoppable((own) => evaluateRun({ id, at, runs: this.store, ...this.parts, signal: own }), signal),
  };

  download(source: ModelSource | DataSource, { signal, as }: Asked & { as?: "model" | "data" } = {}): Stream<RunEvent> {
    const { library } = this.parts;
    const kind = as ?? (OF_DATA.some((name) => name in source) ? "data" : "model");
    this.known.forgetModels();
    return stoppable(
      (own) =>
        reporting(async (report: (event: RunEvent) => void) => {
          const fetching = { signal: own, report: asProgress(report, "bytes") };
          if (kind === "model") await library.openModel(source as ModelSource, fetching);
          else await library.openRows(source as DataSource, "train", fetching);
        }),
      signal,
    );
  }

  plan(job: Job, { signal = new AbortController().signal }: Asked = {}): Promise<JobPlan> {
    return planJob(job, { ...this.parts, known: this.known, signal });
  }

  forecast(job: Job, { signal, quick }: Asked & { quick?: boolean } = {}): Stream<ForecastEvent> {
    return stoppable((own) => forecastJob(job, { ...this.parts, known: this.known, signal: own }, { quick }), signal);
  }

  chat(request: ChatRequest, { signal }: Asked = {}): Stream<ChatEvent> {
    return stoppable((own) => this.answer(request, own), signal);
  }

  async export(
    id: string,
    kind: ExportKind,
    { signal = new AbortController().signal }: Asked = {},
  ): Promise<ExportedFile> {
    const { library } = this.parts;
    const { exportRun } = await import("./export.ts");
    return exportRun(await this.store.get(id), kind, { runs: this.store, library, signal });
  }

  push(id: string, request: PushRequest, { signal }: Asked = {}): Stream<PushEvent> {
    return stoppable((own) => this.pushed(id, request, own), signal);
  }

  async signIn(token: string | null): Promise<void> {
    const { library } = this.parts;
    library.options.token = token;
  }

  private async *pushed(id: string, request: PushRequest, signal: AbortSignal): AsyncGenerator<PushEvent> {
    const { library } = this.parts;
    const { pushRun } = await import("./push.ts");
    yield* pushRun(await this.store.get(id), request, { runs: this.store, library, signal });
  }

  private async create(job: Job): Promise<string> {
    if (job.phases.length === 0) throw new RecipeError("Cannot train: the job has no phase");
    checkSecure();
    const recipes = job.phases.map((_, i) => phaseRecipe(job, i)); // check the recipes before copying files
    const { library } = this.parts;
    const kept = await library.keep(job);
    const id = `${Date.now().toString(36)}-${crypto.randomUUID().slice(0, 8)}`;
    const data = [...new Set(job.phases.map((phase) => nameOfData(phase.data)))].join(", ");
    if (job.continues) {
      const from = await newestAdapter(await this.store.get(job.continues), this.store);
      const to = this.store.folder(id, -1); // before the first phase
      for (const name of [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE])
        await to.write(name, ranges(await from.open(name)));
    }
    await this.store.put(
      newRun(id, kept, { model: nameOfModel(job.model), data, recipes: await Promise.all(recipes.map(phaseYaml)) }),
    );
    return id;
  }

  private async *answer(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatEvent> {
    let adapter = null;
    const run = request.run ? await this.store.get(request.run) : null;
    if (request.adapter && run) {
      const { checkpoint } = request;
      const folder = checkpoint ? await adapterAt(run, this.store, checkpoint) : await newestAdapter(run, this.store);
      adapter = { folder, name: folder.path };
    }
    // load the base in its training dtype, because it may not fit in a wider one
    const storage = run ? textStorage(phaseRecipe(run.job, 0).recipe) : {};
    yield* chat({ request, adapter, storage, ...this.parts, signal });
  }

  private async desk(): Promise<DocumentDesk> {
    const [{ DocumentDesk }, { documentPlace }] = await Promise.all([
      import("./documents.ts"),
      import("./document-place.ts"),
    ]);
    this.desks ??= new DocumentDesk(documentPlace(this.parts));
    return this.desks;
  }

  private atDesk(
    work: (desk: DocumentDesk, signal: AbortSignal) => AsyncGenerator<PairsEvent>,
    asked?: Asked,
  ): Stream<PairsEvent> {
    const open = async function* (desk: Promise<DocumentDesk>, signal: AbortSignal) {
      yield* work(await desk, signal);
    };
    return stoppable((signal) => open(this.desk(), signal), asked?.signal);
  }

  private get parts() {
    if (!this.begun) throw new QwenchError("The worker has no addresses yet: call begin() before any other method");
    return this.begun;
  }
}
