import type { DeviceInfo, Trainer } from "../src/client/types.ts";
import { Cell } from "./cell.ts";
import { type Problem, problemOf } from "./problems.ts";
import { Run } from "./run.ts";

export type DeviceState =
  | { state: "checking" }
  | { state: "ready"; info: DeviceInfo }
  | { state: "missing"; problem: Problem };

/** A sentence at the top of the page that stays until it is dismissed or no longer true. */
interface Notice {
  id: string;
  kind: "info" | "warning" | "error";
  text: string;
  todo: string | null;
  link: { text: string; href: string } | null;
}

/** Losses of the GPU without a step in between after which the page stops trying. */
const MOST_LOSSES = 3;
/** A tab that is loaded again goes on with the run that it was training. */
const ACTIVE_KEY = "qwench.active";

/** What the views share: the trainer and what it stands on, the run that is training, and how to say things. */
export class App {
  readonly device = new Cell<DeviceState>({ state: "checking" });
  readonly notices = new Cell<readonly Notice[]>([]);
  /** the run that this tab trains */
  readonly active = new Cell<Run | null>(null);
  /** counts up when something in storage has changed */
  readonly stored = new Cell(0);
  /** what a screen reader is to say next */
  readonly spoken = new Cell("");
  #create: () => Trainer;
  #trainer: Trainer;
  #pause: AbortController | null = null;
  #losses = 0;

  constructor(create: () => Trainer) {
    this.#create = create;
    this.#trainer = create();
    this.#follow(this.#trainer);
  }

  get trainer(): Trainer {
    return this.#trainer;
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

  /** Says an error at the top of the page. */
  report(id: string, error: unknown): void {
    this.notify({ id, kind: "error", ...problemOf(error) });
  }

  /** The run of that id: the one that is training, or its record from storage. */
  async open(id: string): Promise<Run> {
    const active = this.active.value;
    return active?.id === id ? active : new Run(await this.#trainer.runs.get(id));
  }

  /** The run that was training when this tab was loaded again, if its checkpoint can go on. */
  async interrupted(): Promise<Run | null> {
    const id = sessionStorage.getItem(ACTIVE_KEY);
    if (id === null) return null;
    sessionStorage.removeItem(ACTIVE_KEY);
    const known = (await this.#trainer.runs.list()).find((run) => run.id === id);
    // the worker of before may not be quite gone, and then the run still counts as running
    return known?.status === "paused" || known?.status === "running" ? this.open(id) : null;
  }

  /** Starts a run, or goes on with it. Ends when it is finished, paused or broken off; what happened is in the run. */
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

  /** Ends a run for good where it stands. */
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

  /** One stretch of training. @returns whether to go on: the worker died and there is a new one */
  async #follows(run: Run): Promise<boolean> {
    const trainer = this.#trainer;
    const pause = new AbortController();
    this.#pause = pause;
    const events = trainer.runs.start(run.id, { signal: pause.signal })[Symbol.asyncIterator]();
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
    // another tab's run is not ours to call failed
    if ((error as Error).name !== "BusyError") run.record.status = "failed";
    run.changed(); // its own page reads the problem out
    this.#tellElsewhere(run, "error", `“${run.record.name}” stopped: ${run.problem.text}`, "Look at it", "");
  }

  /** Says what became of a run to somebody who looks at another page. */
  #tellElsewhere(run: Run, kind: Notice["kind"], text: string, link: string, part: string): void {
    const href = `#/runs/${encodeURIComponent(run.id)}`;
    if (location.hash.startsWith(href)) return;
    this.notify({ id: `run-${run.id}`, kind, text, todo: null, link: { text: link, href: href + part } });
  }

  /** The GPU or the worker is gone, and its successor is there: `#follow` heard of it first. @returns whether to go on */
  #recovers(run: Run, sentence: string): boolean {
    this.#losses++;
    const from = run.saved === null ? "from the beginning" : `from step ${run.saved}`;
    if (run.activity !== "working" || this.#losses >= MOST_LOSSES) {
      const todo =
        "Reload the page, or restart the browser if it happens again; what the last checkpoint holds is kept.";
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
        todo: "It was started again; what the last checkpoint holds is kept.",
        link: null,
      });
    });
  }
}

/** Whether the worker turns out to be dead: its error may come before the sentence that explains it. */
function lostSoon(trainer: Trainer): Promise<boolean> {
  const wait = new Promise<false>((done) => setTimeout(() => done(false), 250));
  return Promise.race([trainer.lost.then(() => true), wait]);
}
