import type { DeviceInfo, FolderRun, ModelSource, RunRecord, Trainer } from "../src/client/types.ts";
import { Cell } from "./cell.ts";
import { DraftKeeper } from "./draft/kept.ts";
import type { Draft } from "./jobs.ts";
import { type Problem, problemOf } from "./problems.ts";
import { judgeAccess } from "./reward/judge-key.ts";
import { Run } from "./run.ts";

export type DeviceState =
  | { state: "checking" }
  | { state: "ready"; info: DeviceInfo }
  | { state: "missing"; problem: Problem };

/** A message at the top of the page, shown until it is dismissed or no longer true. */
interface Notice {
  id: string;
  kind: "info" | "warning" | "error";
  text: string;
  todo: string | null;
  link: { text: string; href: string } | null;
}

/** Rows to train on. */
export interface Offer {
  file: File;
  /** null: an endpoint made them */
  model: ModelSource | null;
}

/** Consecutive GPU losses, without a step in between, after which the page stops retrying. */
const MOST_LOSSES = 3;
/** Session key of the run in training, which a reloaded tab continues. */
const ACTIVE_KEY = "qwench.active";

/** State that the views share: the trainer, its device, the run in training, and messages. */
export class App {
  readonly device = new Cell<DeviceState>({ state: "checking" });
  readonly notices = new Cell<readonly Notice[]>([]);
  /** the run that this tab is training */
  readonly active = new Cell<Run | null>(null);
  /** runs in folders that the user opened; forgotten with the tab */
  readonly folders = new Cell<readonly FolderRun[]>([]);
  /** increases when storage changes */
  readonly stored = new Cell(0);
  /** next announcement for a screen reader */
  readonly spoken = new Cell("");
  /** above 0 once the GPU's speed is known, so that times can be told */
  readonly measured = new Cell(0);
  /** access token of the hub; in memory only */
  readonly token = new Cell<string | null>(null);
  /** rows of the user's documents, and the model that made them, for the next start view */
  offer: Offer | null = null;
  /** whether runs are only shown, because they belong to other processes */
  readonly readOnly: boolean;
  /** the choices of the start view, kept while another view is open */
  draft: Draft | null = null;
  /** the user's own choices before a link replaced them */
  replaced: Draft | null = null;
  readonly drafts = new DraftKeeper();
  #create: () => Trainer;
  #trainer: Trainer;
  #pause: AbortController | null = null;
  #losses = 0;

  constructor(create: () => Trainer, readOnly = false) {
    this.readOnly = readOnly;
    this.#create = create;
    this.#trainer = create();
    this.#follow(this.#trainer);
  }

  get trainer(): Trainer {
    return this.#trainer;
  }

  /** Uses an access token of the hub for downloads and pushes until the tab is closed or reloaded; null: none. */
  signIn(token: string | null): void {
    void this.#trainer.signIn(token).then(
      () => (this.token.value = token),
      (error) => this.report("sign-in", error),
    );
  }

  announce(text: string): void {
    this.spoken.value = text;
  }

  notify(notice: Notice): void {
    this.notices.value = [...this.notices.value.filter(({ id }) => id !== notice.id), notice];
  }

  dismiss(id: string): void {
    if (this.notices.value.some((notice) => notice.id === id)) {
      this.notices.value = this.notices.value.filter((notice) => notice.id !== id);
    }
  }

  /** Shows an error at the top of the page. */
  report(id: string, error: unknown): void {
    this.notify({ id, kind: "error", ...problemOf(error) });
  }

  /** The run with an id: the run in training, its record from storage, or one of a folder that is open. */
  async open(id: string): Promise<Run> {
    const active = this.active.value;
    if (active?.id === id) return active;
    const shown = this.folders.value.find(({ record }) => record.id === id);
    const run = new Run(await this.record(id), shown !== undefined);
    for (const note of shown?.notes ?? []) run.remark("warning", note);
    return run;
  }

  /** What is known about a run. @throws for a folder that is not open any more */
  async record(id: string): Promise<RunRecord> {
    const shown = this.folders.value.find(({ record }) => record.id === id);
    if (!shown && id.startsWith("folder:"))
      throw new Error(
        "This folder is not open: a page forgets it when it is closed or loaded again. Open it under Runs.",
      );
    return shown?.record ?? this.#trainer.runs.get(id);
  }

  /** The run that was training before a reload of this tab, if it can resume from its checkpoint. */
  async interrupted(): Promise<Run | null> {
    const id = sessionStorage.getItem(ACTIVE_KEY);
    if (id === null) return null;
    sessionStorage.removeItem(ACTIVE_KEY);
    const known = (await this.#trainer.runs.list()).find((run) => run.id === id);
    // the old worker may still be ending, so the run may still count as running
    return known?.status === "paused" || known?.status === "running" ? this.open(id) : null;
  }

  /** Starts or resumes a run. Resolves when the run has finished, paused or failed; the run holds the outcome. */
  async train(run: Run): Promise<void> {
    const busy = this.active.value;
    if (busy && busy !== run && busy.activity !== "idle") {
      run.problem = { text: `“${busy.record.name}” is training in this tab.`, todo: "Pause it first.", link: null };
      run.changed();
      return;
    }
    this.active.value = run;
    run.activity = "working";
    run.problem = null;
    run.record.problem = null;
    run.changed();
    sessionStorage.setItem(ACTIVE_KEY, run.id);
    let again = true;
    while (again) again = await this.#follows(run);
    sessionStorage.removeItem(ACTIVE_KEY);
    this.stored.value++;
  }

  /** Pauses the run at its next step, with a checkpoint. */
  pause(run: Run): void {
    if (run.activity !== "working") return;
    run.activity = "pausing";
    run.changed();
    this.#pause?.abort();
  }

  /** Ends a run permanently at its current state. */
  async stop(run: Run): Promise<void> {
    if (run.activity === "working" || run.activity === "pausing") {
      run.activity = "stopping";
      run.changed();
      this.#pause?.abort();
      return;
    }
    try {
      await this.#trainer.runs.stop(run.id);
      run.record.status = "stopped";
    } catch (error) {
      run.problem = problemOf(error);
    }
    run.changed();
    this.stored.value++;
  }

  /** One uninterrupted period of training. @returns whether to continue, because a new worker has replaced a dead one */
  async #follows(run: Run): Promise<boolean> {
    const trainer = this.#trainer;
    const pause = new AbortController();
    this.#pause = pause;
    const events = trainer.runs
      .start(run.id, { signal: pause.signal, judge: judgeAccess(run.record.job) })
      [Symbol.asyncIterator]();
    const died = trainer.lost.then((sentence) => ({ sentence }));
    try {
      for (;;) {
        const next = await Promise.race([events.next(), died]);
        if ("sentence" in next) return this.#recovers(run, next.sentence);
        if (next.done) break;
        run.record.status = "running";
        if (next.value.type === "step") this.#losses = 0;
        run.take(next.value);
      }
      await this.#settle(run);
    } catch (error) {
      if (await lostSoon(trainer)) return this.#recovers(run, await trainer.lost);
      if (pause.signal.aborted || (error as Error).name === "AbortError") await this.#settle(run);
      else this.#fail(run, error);
    }
    return false;
  }

  /** After the last event: finished, or paused or stopped as asked. */
  async #settle(run: Run): Promise<void> {
    const stopping = run.activity === "stopping";
    const finished = run.record.status === "finished";
    run.activity = "idle";
    run.progress = null;
    if (!finished) run.record.status = "paused";
    if (stopping && !finished) await this.stop(run);
    run.changed();
    this.announce(finished ? `${run.record.name} is finished.` : `${run.record.name} is ${run.record.status}.`);
    if (finished) this.#tellElsewhere(run, "info", `“${run.record.name}” is finished.`, "See the result", "/result");
  }

  #fail(run: Run, error: unknown): void {
    run.activity = "idle";
    run.progress = null;
    run.problem = problemOf(error);
    // the run belongs to another tab, so do not mark it as failed
    if ((error as Error).name !== "BusyError") run.record.status = "failed";
    run.changed(); // the run's own page announces the problem
    this.#tellElsewhere(run, "error", `“${run.record.name}” stopped: ${run.problem.text}`, "Look at it", "");
  }

  /** Announces a run's outcome while another page is open. */
  #tellElsewhere(run: Run, kind: Notice["kind"], text: string, link: string, part: string): void {
    const href = `#/runs/${encodeURIComponent(run.id)}`;
    if (location.hash.startsWith(href)) return;
    this.notify({ id: `run-${run.id}`, kind, text, todo: null, link: { text: link, href: href + part } });
  }

  /** Handles a lost GPU or worker after `#follow` has replaced it. @returns whether to continue */
  #recovers(run: Run, sentence: string): boolean {
    this.#losses++;
    const from = run.saved === null ? "from the beginning" : `from step ${run.saved}`;
    if (run.activity !== "working" || this.#losses >= MOST_LOSSES) {
      const todo = "Reload the page, or restart the browser if it happens again. The last checkpoint is kept.";
      this.#fail(run, new Error(sentence));
      run.problem = { text: sentence, todo, link: null };
      run.record.status = "paused";
      return false;
    }
    run.remark("warning", `${sentence} Going on ${from}.`);
    this.announce(`${sentence} Going on ${from}.`);
    return true;
  }

  #follow(trainer: Trainer): void {
    this.device.value = { state: "checking" };
    // a new worker knows nothing of the one before it; `lost` tells if this one dies as well
    if (this.token.value !== null) trainer.signIn(this.token.value).catch(() => {});
    trainer.device().then(
      (info) => this.#trainer === trainer && (this.device.value = { state: "ready", info }),
      (error) => this.#trainer === trainer && (this.device.value = { state: "missing", problem: problemOf(error) }),
    );
    trainer.lost.then((sentence) => {
      if (this.#trainer !== trainer) return;
      trainer.terminate();
      this.#trainer = this.#create();
      this.#follow(this.#trainer);
      this.notify({
        id: "lost",
        kind: "warning",
        text: sentence,
        todo: "Qwench restarted it. The last checkpoint is kept.",
        link: null,
      });
    });
  }
}

/** Whether the worker is dead. Its error may arrive before the message that explains it. */
function lostSoon(trainer: Trainer): Promise<boolean> {
  const wait = new Promise<false>((done) => setTimeout(() => done(false), 250));
  return Promise.race([trainer.lost.then(() => true), wait]);
}
