import type { ForecastEvent, JobPlan } from "../../src/client/types.ts";

/** What the page knows about the present draft. No state holds anything of an earlier draft. */
export type ForecastState =
  /** a choice is missing, and which one */
  | { state: "missing"; text: string }
  /** being worked out. `plan`: this draft's quick part, if it is here */
  | { state: "working"; plan: JobPlan | null; what: string; share: number | null }
  /** `what`: what is still being done, such as a measurement for the time; null: nothing */
  | { state: "ready"; plan: JobPlan; what: string | null; share: number | null }
  | { state: "wrong"; error: unknown };

/** Asks for a forecast. Events that come after the signal is aborted are ignored. */
export type Ask<J> = (job: J, signal: AbortSignal) => AsyncIterable<ForecastEvent>;

/** Follows the drafts of a job. Each draft starts empty, and only the answers to the present draft count. */
export class ForecastMachine<J> {
  readonly #ask: Ask<J>;
  readonly #changed: (state: ForecastState) => void;
  #state: ForecastState = { state: "missing", text: "" };
  #stop = new AbortController();

  constructor(ask: Ask<J>, changed: (state: ForecastState) => void) {
    this.#ask = ask;
    this.#changed = changed;
  }

  get state(): ForecastState {
    return this.#state;
  }

  /** Replaces the draft. @param draft a job, or what is missing for one */
  update(draft: J | string): void {
    this.end();
    this.#stop = new AbortController();
    if (typeof draft === "string") {
      this.#set({ state: "missing", text: draft });
      return;
    }
    this.#set({ state: "working", plan: null, what: "working it out", share: null });
    void this.#follow(draft, this.#stop.signal);
  }

  /** Ends the work on the present draft. */
  end(): void {
    this.#stop.abort();
  }

  async #follow(draft: J, signal: AbortSignal): Promise<void> {
    try {
      for await (const event of this.#ask(draft, signal)) {
        if (signal.aborted) return;
        this.#take(event);
      }
      if (!signal.aborted) this.#settle();
    } catch (error) {
      if (!signal.aborted) this.#set({ state: "wrong", error });
    }
  }

  #take(event: ForecastEvent): void {
    const now = this.#state;
    if (event.type === "plan") {
      const { plan } = event;
      this.#set(
        plan.exact
          ? { state: "ready", plan, what: null, share: null }
          : { state: "working", plan, what: "reading the rows", share: null },
      );
      return;
    }
    const share = event.total ? Math.min(1, event.done / event.total) : null;
    const rows = event.total === null && event.done > 0 ? `: ${event.done.toLocaleString("en")}` : "";
    const what = `${event.what}${rows}`;
    if (now.state === "ready") this.#set({ ...now, what, share });
    else this.#set({ state: "working", plan: now.state === "working" ? now.plan : null, what, share });
  }

  /** After the last event, a quick plan is all that there is. */
  #settle(): void {
    const now = this.#state;
    if (now.state === "ready") {
      if (now.what !== null) this.#set({ ...now, what: null, share: null });
    } else if (now.state === "working") {
      if (now.plan) this.#set({ state: "ready", plan: now.plan, what: null, share: null });
      else this.#set({ state: "wrong", error: new Error("The forecast ended without a result. Try again.") });
    }
  }

  #set(state: ForecastState): void {
    this.#state = state;
    this.#changed(state);
  }
}

/** Share of the available memory above which a run is tight: other programs use the GPU too. */
const TIGHT = 0.85;

/** Whether a job fits. `unknown`: it fits the limits of buffers, and nobody knows how much memory the GPU has. */
export function verdictOf({
  fits,
  available,
  phases,
  error,
}: JobPlan): "fits" | "tight" | "large" | "unknown" | "cannot" {
  // a model that cannot be read is not too large
  if (!fits) return error === null || error === "MemoryError" ? "large" : "cannot";
  if (available === null) return "unknown";
  const most = phases.reduce((peak, { memory }) => Math.max(peak, memory.peak), 0);
  return most > TIGHT * available ? "tight" : "fits";
}

/** A forecast duration, no more exact than it is: `under a minute`, `about 4 min`, `about 2 h 10 min`, `about 3 days`. */
export function aboutSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return "unknown";
  if (seconds < 45) return "under a minute";
  const minutes = seconds / 60;
  if (minutes < 10) return `about ${Math.max(1, Math.round(minutes))} min`;
  if (minutes < 55) return `about ${5 * Math.round(minutes / 5)} min`;
  const hours = Math.floor((minutes + 5) / 60);
  const rest = hours < 10 ? 10 * Math.floor((minutes + 5 - 60 * hours) / 10) : 0;
  if (hours < 48) return `about ${hours} h${rest > 0 ? ` ${rest} min` : ""}`;
  return `about ${Math.round(hours / 24)} days`;
}
