import type { CompletionRecord, LogRecord, RunRecord, RunSummary, Trainer } from "../../src/client/types.ts";
import { App } from "../app.ts";
import { Run } from "../run.ts";

/** Milliseconds between two looks at a run's folder. */
const LOOK_MS = 1000;
const TOKEN_KEY = "qwench.ui.token";

/** What the server tells about a run; see RunNews of src/cli/ui/reader.ts. */
interface News {
  summary: RunSummary;
  generation: number;
  from: number;
  logs: LogRecord[];
  completions: { phase: number; step: number; records: CompletionRecord[] }[] | null;
  version: string;
  recipes: string[];
  device: string | null;
  notes: string[];
}

/** The token of the address, which leaves the address and stays with the tab. */
function takeToken(): string {
  const url = new URL(location.href);
  const given = url.searchParams.get("token");
  if (given !== null) {
    sessionStorage.setItem(TOKEN_KEY, given);
    url.searchParams.delete("token");
    history.replaceState(null, "", url);
  }
  return sessionStorage.getItem(TOKEN_KEY) ?? "";
}

/** Asks the server. @throws with its sentence, or that it has ended */
async function ask<T>(path: string, token: string): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, { headers: { "x-qwench-token": token } });
  } catch {
    throw new Error("qwench ui has ended, so this page shows an earlier state. Start it again and open its address");
  }
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.problem ?? `The server answered ${answer.status}`);
  return json;
}

/** The page's state: runs in folders, which only their own processes change. */
export class FolderApp extends App {
  readonly #token: string;
  /** increases when the list of runs may have changed */
  #failed = false;

  constructor() {
    const token = takeToken();
    super(() => reader(token), true);
    this.#token = token;
    setInterval(() => void this.#list(), 2 * LOOK_MS);
  }

  /** A run, followed until the page closes: its curves grow with its files. */
  override async open(id: string): Promise<Run> {
    const first = await ask<News>(`/api/run?id=${encodeURIComponent(id)}`, this.#token);
    const run = new Run(recordOf(first), true);
    for (const note of first.notes) run.remark("warning", note);
    run.activity = first.summary.status === "running" ? "working" : "idle";
    void this.#follow(run, first);
    return run;
  }

  async #follow(run: Run, first: News): Promise<void> {
    let [generation, logs, version] = [first.generation, first.logs.length, first.version];
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      if (document.hidden) continue;
      const query = new URLSearchParams({ id: run.id, generation: `${generation}`, logs: `${logs}`, version });
      const news = await ask<News>(`/api/run?${query}`, this.#token).catch((error) => this.#lose(error));
      if (!news) continue;
      this.#failed = false;
      this.dismiss("server");
      if (changes(news, { generation, logs, version }, run)) apply(run, news);
      [generation, logs, version] = [news.generation, news.from + news.logs.length, news.version];
    }
  }

  /** Shows once that the server does not answer. */
  #lose(error: unknown): null {
    if (!this.#failed)
      this.notify({ id: "server", kind: "warning", text: (error as Error).message, todo: null, link: null });
    this.#failed = true;
    return null;
  }

  async #list(): Promise<void> {
    if (!document.hidden && /^#\/?(runs\/?)?$/.test(location.hash)) this.stored.value++;
  }
}

function changes(news: News, known: { generation: number; logs: number; version: string }, { record }: Run): boolean {
  return (
    news.generation !== known.generation ||
    news.logs.length > 0 ||
    news.completions !== null ||
    news.summary.status !== record.status ||
    news.summary.problem !== record.problem
  );
}

/** Puts what is new into a run that views watch. */
function apply(run: Run, news: News): void {
  const { record } = run;
  record.logs[0] = [...(record.logs[0] ?? []).slice(0, news.from), ...news.logs];
  if (news.completions) record.completions = news.completions;
  if (news.recipes.length > 0) record.recipes = news.recipes;
  const { status, problem, phases } = news.summary;
  Object.assign(record, { status, problem });
  record.phases[0].max_steps = phases[0].max_steps;
  run.activity = status === "running" ? "working" : "idle";
  // the step's event keeps the clock of the time left
  const last = news.logs.at(-1);
  if (last) run.take({ type: "step", phase: 0, step: phases[0].global_step, tokens: 0, loss: 0, reward: null });
  else record.phases[0].global_step = phases[0].global_step;
  run.changed();
}

function recordOf({ summary, logs, completions, recipes }: News): RunRecord {
  const { model, data, name, phases } = summary;
  const phase = { method: phases[0].method, data: { kind: "stored" as const, id: data }, recipe: {} };
  return {
    ...summary,
    job: { name, model: { kind: "stored", id: model }, phases: [phase], evaluate: null },
    recipes,
    logs: [logs],
    completions: completions ?? [],
    evaluations: [],
  };
}

/** A trainer that only lists runs. */
function reader(token: string): Trainer {
  const never = () => Promise.reject(new Error("This page only shows runs"));
  const runs = {
    list: () => ask<RunSummary[]>("/api/runs", token),
    get: async (id: string) => recordOf(await ask<News>(`/api/run?id=${encodeURIComponent(id)}`, token)),
  };
  const nothing = new Proxy({}, { get: () => never });
  return {
    device: () => new Promise(() => {}),
    terminate() {},
    lost: new Promise(() => {}),
    runs: { ...(nothing as Trainer["runs"]), ...runs },
    ...Object.fromEntries(["recipe", "data", "documents", "storage"].map((name) => [name, nothing])),
    ...Object.fromEntries(["download", "plan", "chat", "export"].map((name) => [name, never])),
  } as unknown as Trainer;
}
