import { unzipSync } from "fflate";
import type { RunEvent, RunStatus, Trainer } from "../../src/client/types.ts";
import { createTrainer } from "../../src/client.ts";
import { RecipeError } from "../../src/errors.ts";
import { show } from "../../src/text/show.ts";
import TrainerWorker from "../../workers/trainer.worker.ts?worker&inline";
import { Cell } from "../cell.ts";
import { Run } from "../run.ts";
import { type Files, jobOf } from "./job.ts";
import { sendFiles, type WidgetModel } from "./model.ts";

export type WidgetStatus = "idle" | "running" | "pausing" | "stopping" | Exclude<RunStatus, "ready" | "running">;

/** The state that the views show. */
export interface WidgetState {
  status: WidgetStatus;
  /** an error message, or an empty text */
  problem: string;
  run: Run | null;
}

/** The run that a model's trait `run` names, and its job. */
interface Named {
  id?: string;
  job?: unknown;
}

/** Milliseconds between two reports to Python. */
const PACE = 1000;

/** The trainer of one model and all its views. It executes commands from Python and the views, and reports to them. */
export class Host {
  readonly state = new Cell<WidgetState>({ status: "idle", problem: "", run: null });
  readonly #model: WidgetModel;
  readonly #ready: Promise<void>;
  readonly #sent = new Map<string, string>();
  #trainer: Trainer | null = null;
  #lost = false;
  #control: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(model: WidgetModel) {
    this.#model = model;
    model.on("change:command", this.#obey);
    this.#ready = this.#recall();
    void this.#obey();
  }

  /** Starts a run of the trait `job`, or resumes the paused run. */
  async start(): Promise<void> {
    if (this.#control) return;
    const control = new AbortController();
    this.#control = control;
    this.#change({ status: "running", problem: "" });
    try {
      const trainer = this.#open();
      await trainer.device(); // reports missing parts before copying files
      const run = await this.#runToStart(trainer);
      this.#change({ run });
      for await (const event of trainer.runs.start(run.id, { signal: control.signal })) this.#take(run, event);
      await this.#end("finished");
    } catch (error) {
      await this.#fail(error as Error).catch((another) => this.#change({ status: "failed", problem: another.message }));
    } finally {
      this.#control = null;
      this.#report();
    }
  }

  /** Pauses at the next step with a checkpoint, from which `start` continues. */
  pause(): void {
    if (this.state.value.status !== "running") return;
    this.#change({ status: "pausing" });
    this.#control!.abort();
  }

  /** Ends the run permanently at the next step. Keeps and sends the adapter. */
  async stop(): Promise<void> {
    const { run, status } = this.state.value;
    if (this.#control) {
      this.#change({ status: "stopping" });
      this.#control.abort();
    } else if (run && status !== "finished" && status !== "stopped") {
      await this.#open().runs.stop(run.id);
      await this.#end("stopped");
      this.#report();
    }
  }

  /** Saves the adapter as a zip through a browser download. */
  adapter(): Promise<{ name: string; blob: Blob }> {
    return this.#open().export(this.state.value.run!.id, "adapter");
  }

  complain(error: unknown): void {
    this.#change({ problem: (error as Error).message });
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#model.off("change:command", this.#obey);
    this.#trainer?.terminate();
  }

  /** Executes a command once. */
  readonly #obey = async (): Promise<void> => {
    await this.#ready;
    const command = this.#model.get("command") || "";
    if (command === "") return;
    this.#model.set("command", "");
    this.#model.save_changes();
    try {
      if (command === "start") await this.start();
      else if (command === "pause") this.pause();
      else if (command === "stop") await this.stop();
      else if (command === "adapter") await this.#send();
      else throw new RecipeError(`Cannot execute ${show(command)}: commands are start, pause, stop and adapter`);
    } catch (error) {
      this.complain(error);
    }
  };

  /** The run that the model names, if this browser has it, such as after a reload or in a second window. */
  async #recall(): Promise<void> {
    const { id } = this.#named;
    if (!id) return;
    try {
      const record = await this.#open().runs.get(id);
      const status = record.status === "running" || record.status === "ready" ? "paused" : record.status;
      this.#change({ status, problem: record.problem ?? "", run: new Run(record) });
    } catch (error) {
      if ((error as Error).name !== "NotFoundError") this.complain(error);
    }
  }

  async #runToStart(trainer: Trainer): Promise<Run> {
    const { run } = this.state.value;
    const given = this.#model.get("job");
    const same = JSON.stringify(given) === JSON.stringify(this.#named.job);
    if (run && same && run.record.status !== "finished" && run.record.status !== "stopped") return run;
    const job = jobOf(given, (this.#model.get("files") ?? {}) as Files, this.#assets);
    const id = await trainer.runs.create(job);
    this.#model.set("run", { id, job: given } satisfies Named);
    this.#model.save_changes();
    return new Run(await trainer.runs.get(id));
  }

  #take(run: Run, event: RunEvent): void {
    run.take(event);
    if (event.type !== "progress") this.#timer ??= setTimeout(() => this.#report(), PACE);
  }

  /** Sends a finished run's adapter to Python before setting the final status. */
  async #end(status: "finished" | "stopped"): Promise<void> {
    this.state.value.run!.record.status = status;
    await this.#send().catch((error) => this.complain(error));
    this.#change({ status });
  }

  async #fail(error: Error): Promise<void> {
    const { run, status } = this.state.value;
    if (error.name === "AbortError" && status === "stopping" && run) {
      await this.#open().runs.stop(run.id);
      return this.#end("stopped");
    }
    const kept = run && (await this.#open().runs.get(run.id));
    if (run && kept) run.record.status = kept.status;
    const stopped = error.name === "AbortError";
    // after its worker's death, a run is at its last checkpoint
    const paused = stopped || kept?.status === "paused" || kept?.status === "running";
    this.#change({
      status: paused ? "paused" : "failed",
      problem: stopped ? "" : (kept?.problem ?? error.message),
    });
  }

  async #send(): Promise<void> {
    const { blob } = await this.adapter();
    const files = unzipSync(new Uint8Array(await blob.arrayBuffer()));
    sendFiles(this.#model, "adapter", files, this.#model.get("binary") !== false);
  }

  /** Sends the changed traits to Python. */
  #report(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { status, problem, run } = this.state.value;
    const record = run?.record;
    const now = record?.phases[record.phase];
    const traits = {
      progress: now ? { phase: record.phase, method: now.method, step: now.global_step, max_steps: now.max_steps } : {},
      logs: record?.logs ?? [],
      metrics: record?.logs.flat().at(-1) ?? {},
      accuracy: record?.evaluations.map(({ stage, phase, accuracy }) => ({ stage, phase, accuracy })) ?? [],
      notes: run?.remarks.map(({ text }) => text) ?? [],
      problem,
      status,
    };
    let news = false;
    for (const [name, value] of Object.entries(traits)) {
      const text = JSON.stringify(value);
      if (this.#sent.get(name) === text) continue;
      news = true;
      this.#sent.set(name, text);
      this.#model.set(name, JSON.parse(text)); // a copy, because hosts do not detect changes inside the same object
    }
    if (news) this.#model.save_changes();
  }

  #change(changes: Partial<WidgetState>): void {
    this.state.value = { ...this.state.value, ...changes };
    this.#report();
  }

  #open(): Trainer {
    if (this.#lost) this.#trainer?.terminate();
    if (this.#trainer && !this.#lost) return this.#trainer;
    this.#lost = false;
    const trainer = createTrainer({ worker: new TrainerWorker({ name: "qwench" }), assets: this.#assets || undefined });
    void trainer.lost.then(() => {
      this.#lost ||= this.#trainer === trainer;
    });
    this.#trainer = trainer;
    return trainer;
  }

  get #assets(): string {
    return String(this.#model.get("assets") ?? "");
  }

  get #named(): Named {
    return (this.#model.get("run") ?? {}) as Named;
  }
}
