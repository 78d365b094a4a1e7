import type {
  ChatEvent,
  DataPreview,
  DataSource,
  DeviceInfo,
  Job,
  JobPlan,
  ModelSource,
  Preset,
  RunEvent,
  RunRecord,
  RunSummary,
  StoredItem,
  Trainer,
} from "../../src/client/types.ts";
import { wordProblems } from "../../src/data/sets/word-problems.ts";
import {
  BusyError,
  FormatError,
  GpuError,
  NetworkError,
  NotFoundError,
  QuotaError,
  UnsupportedError,
} from "../../src/errors.ts";
import { tryJudge } from "../../workers/session/judge-trial.ts";
import { PRESETS } from "../../workers/session/presets.ts";
import published from "../../workers/session/published.json" with { type: "json" };
import { formatForm, formFields, parseForm } from "../../workers/session/recipes.ts";
import { judgePlatform } from "../../workers/session/reward-platform.ts";
import { rewardRows } from "../../workers/session/reward-rows.ts";
import { readRunFolders } from "../../workers/session/run-folders.ts";
import { fakeDocuments } from "./fake-documents.ts";
import { evaluationOf, HOSTILE, logAt, newRecord, planOf, play, type Script } from "./fake-runs.ts";

// A trainer without a GPU for tests of the page: `?fake=quota` and so on say what it meets, `&step=40` how long a step
// takes, and `&linger=1:5` that those after step 5 of phase 1 take a second, until `hurry` is true. Runs are kept over a reload as the real ones are.

const RUNS = "fake.runs";
/** A text that an attack wants to see everywhere. */
const hostile = () => sessionStorage.getItem("fake.text");
const wanted = new URLSearchParams(location.search);
const fake = wanted.get("fake") ?? "";
const stepTime = Number(wanted.getAll("step").at(-1) ?? 60);

const linger = wanted.get("linger")?.split(":").map(Number);

/** Slow enough, where a test must act while a run goes on, on any machine. */
function pace(phase: number, step: number): number {
  const late = linger && (phase > linger[0] || (phase === linger[0] && step > linger[1]));
  return late && !("hurry" in globalThis) ? 1000 : stepTime;
}

let losses = 0;
/** the token that the page has given */
let signedIn: string | null = null;
/** the run that this page trains */
let trained: string | null = null;

export function createTrainer(): Trainer {
  let lose: (why: string) => void = () => {};
  const lost = new Promise<string>((resolve) => (lose = resolve));
  let persisted = fake === "kept";
  let models: StoredItem[] = [
    {
      id: "hub/models--Qwen--Qwen2.5-0.5B-Instruct",
      kind: "model",
      name: "Qwen/Qwen2.5-0.5B-Instruct",
      bytes: 999e6,
      created: null,
    },
    { id: "data/sums-1a2b3c4d", kind: "data", name: "sums.csv", bytes: 81e3, created: Date.UTC(2026, 4, 2) },
  ];

  return {
    device: async (): Promise<DeviceInfo> => {
      await later(fake === "no-webgpu" ? 20 : 60);
      if (fake === "no-webgpu") throw new GpuError("This browser has no WebGPU.");
      const software = fake === "software";
      return {
        adapter: hostile() ?? (software ? "SwiftShader" : "Apple M2"),
        software,
        advice: hostile(),
        features: { f16: !software, subgroups: true },
        limits: { maxBufferSize: 4294967296, maxStorageBufferBindingSize: 2147483648 },
      };
    },
    recipe: {
      fields: async (method) => formFields(method),
      presets: async () =>
        [...PRESETS, ...(published as Preset[])].map((one) => ({
          ...one,
          recipe: { ...one.recipe, lora_r: 8, max_steps: one.method === "sft" ? 30 : 60 },
        })),
      parse: async (input, method) => parseForm(input, method),
      format: async (recipe, method) => formatForm(recipe, method),
    },
    data: {
      preview,
      see: async (_source, as) => {
        const parts = [
          { kind: "prompt" as const, text: "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n" },
          { kind: "target" as const, text: "17<|im_end|>" },
        ];
        const rows = [
          { number: 1, parts, tokens: 21, problem: null },
          { number: 2, parts: [], tokens: 0, problem: `row 2: no answer for ${as.method}` },
        ];
        const lengths = Array.from({ length: 40 }, (_, i) => 20 + Math.floor((i * i) / 20));
        const found = { form: "question and answer", columns: {}, unused: [], problem: null };
        return { ...found, rows, counted: 41, all: true, lengths, cut: 2, empty: 0, bad: 1 };
      },
      fetch: async (url) => new File(['{"messages": []}\n'], url.split("/").at(-1)!),
      rewardRows: async (_source, recipe, count) => rewardRows(fakeRows(), recipe, count),
      tryJudge: (fields, { judge, ...question }) => tryJudge(fields, question, judgePlatform(judge?.key ?? null)),
    },
    documents: fakeDocuments(stepTime, fake === "network" ? "Cannot ask the endpoint: Failed to fetch" : null),
    storage: {
      usage: async () => {
        const items = [
          ...models.map((one) => ({ ...one, name: hostile() ?? one.name })),
          ...load().map(({ id, name, created }) => ({
            id: `runs/${id}`,
            kind: "run" as const,
            name,
            bytes: 1.1e6,
            created,
          })),
        ];
        return { usage: items.reduce((sum, { bytes }) => sum + bytes, 0), quota: 20e9, persisted, items };
      },
      persist: async () => (persisted = fake !== "declined"),
      remove: async (id) => {
        models = models.filter((item) => item.id !== id);
        save(load().filter((run) => `runs/${run.id}` !== id));
      },
    },
    download,
    plan: async (job) => {
      await later(30);
      plans.push(job);
      return refused(job, signedIn) ?? plan(job, true);
    },
    async *forecast(job, { signal, quick } = {}) {
      plans.push(job);
      await later(30);
      const wrong = refused(job, signedIn);
      yield { type: "plan", plan: wrong ?? plan(job, false) };
      if (quick || wrong) return;
      await later(30);
      if (!signal?.aborted) yield { type: "plan", plan: plan(job, true) };
    },
    runs: {
      list: async () => load().map((run) => summary(withTruth(run))),
      get: async (id) => withTruth(found(id)),
      remove: async (id) => save(load().filter((run) => run.id !== id)),
      rename: async (id, name) => change(id, (run) => (run.name = name)),
      create: async (job) => {
        const id = `run-${Date.now()}`;
        save([...load(), newRecord(id, withoutFiles(job))]);
        return id;
      },
      start: (id, { signal } = {}) => start(id, signal, lose),
      stop: async (id) => change(id, (run) => (run.status = "stopped")),
      checkpoints: async (id) =>
        fake === "no-adapters"
          ? []
          : found(id).phases.flatMap(({ method, global_step }, phase) =>
              [global_step - 20, null].map((step) => ({ phase, method, step })),
            ),
      pack: async (id) => ({ name: `${found(id).name}-run.zip`, type: "application/zip", blob: new Blob([id]) }),
      unpack: async ({ name }) => {
        throw new FormatError(`Cannot import ${name}: it is no archive`);
      },
      read: readRunFolders,
      saved: async (id) =>
        found(id)
          .phases.flatMap(({ global_step: step }, phase) => (step > 0 ? [{ phase, step }] : []))
          .reverse(),
      async *evaluate(id, { at } = {}) {
        const run = found(id);
        const { phase, step } = at ?? { phase: run.phase, step: run.phases[run.phase].global_step };
        for (let done = 0; done <= 40; done += 10) {
          yield { type: "progress", what: "held-out problems", done, total: 40, unit: "problems" };
          await later(stepTime / 4);
        }
        const event: RunEvent = {
          type: "evaluated",
          evaluation: { ...evaluationOf(run.phases[phase].method, phase, 40), step },
        };
        note(id, event);
        yield event;
      },
    },
    chat,
    export: async (id, kind) => {
      await later(200);
      if (fake === "broken-export") throw new NotFoundError("There is no checkpoint of this run yet.");
      const name = {
        adapter: "adapter.zip",
        merged: "model.zip",
        merged_4bit: "4bit.zip",
        gguf: "Q8_0.gguf",
        gguf_f16: "F16.gguf",
        gguf_bf16: "BF16.gguf",
        gguf_q4_0: "Q4_0.gguf",
        gguf_lora: "lora-F32.gguf",
        report: "report.html",
        recipe: "recipe.yaml",
      }[kind];
      return { name: `${found(id).name}-${name}`, type: "application/octet-stream", blob: new Blob([kind]) };
    },
    async *push(_, { repo, token }) {
      yield { type: "progress", what: "Sending adapter_model.safetensors", done: 50, total: 100 };
      await later(200);
      if (token !== "hf_fake")
        throw new NotFoundError(`Cannot push to ${repo}: the token has no write access; set HF_TOKEN to another`);
      yield { type: "end", url: `https://huggingface.co/${repo}`, commit: "0123456789abcdef" };
    },
    async signIn(token) {
      signedIn = token;
    },
    terminate() {},
    lost,
  };
}

async function* fakeRows() {
  const problems = wordProblems({ seed: 4, count: 20, split: "train" });
  for (const [i, { question, answer }] of problems.entries()) {
    yield { row: { question, answer }, number: i + 1, file: "the embedded problems" };
  }
}

const later = (ms: number) => new Promise((done) => setTimeout(done, ms));

function load(): RunRecord[] {
  return JSON.parse(localStorage.getItem(RUNS) ?? "[]");
}
function save(runs: RunRecord[]): void {
  localStorage.setItem(RUNS, JSON.stringify(runs));
}
function found(id: string): RunRecord {
  const run = load().find((one) => one.id === id);
  if (!run) throw new NotFoundError(`There is no run ${id}.`);
  return run;
}
function change(id: string, act: (run: RunRecord) => void): void {
  const runs = load();
  const run = runs.find((one) => one.id === id);
  if (run) act(run);
  save(runs);
}
function summary({
  job: _,
  recipes: __,
  logs: ___,
  completions: ____,
  evaluations: _____,
  ...rest
}: RunRecord): RunSummary {
  return rest;
}
/** A run that is said to be running and that this page does not train was cut short. */
function withTruth(run: RunRecord): RunRecord {
  return run.status === "running" && run.id !== trained ? { ...run, status: "paused" } : run;
}
/** JSON holds no File. */
function withoutFiles(job: Job): Job {
  return JSON.parse(JSON.stringify(job));
}

async function* start(
  id: string,
  signal: AbortSignal | undefined,
  lose: (why: string) => void,
): AsyncGenerator<RunEvent> {
  if (fake === "busy") {
    throw new BusyError(
      "Another tab of this site is training, and the GPU runs one training at a time: pause that run first",
    );
  }
  const script: Script = { step: stepTime, fault: null, onFault: null, pace };
  if (fake === "quota") {
    script.fault = new QuotaError(
      "Cannot write optimizer.safetensors: the browser's storage for this site is full. 48.0 MB are needed, but only 3.0 MB of 2.00 GB are free. Existing files are intact; delete a model, a data set or a run, or free some of the disk",
    );
  }
  if (fake === "network") script.fault = CUT;
  if (fake === "lost" && losses === 0) {
    script.onFault = () => {
      losses++;
      lose("The GPU was lost: the browser or its driver started it again.");
    };
  }
  trained = id;
  change(id, (run) => {
    run.status = "running";
    run.problem = null;
  });
  try {
    for await (const event of play(found(id), script, signal)) {
      note(id, event);
      yield event;
    }
    if (found(id).status === "running") change(id, (run) => (run.status = "paused"));
  } catch (error) {
    change(id, (run) => {
      run.status = "failed";
      run.problem = (error as Error).message;
    });
    throw error;
  }
}

/** Keeps what the real record keeps. */
function note(id: string, event: RunEvent): void {
  change(id, (run) => {
    if (event.type === "phase") {
      run.phase = event.phase;
      run.phases[event.phase].global_step = event.global_step;
      run.logs[event.phase] = run.logs[event.phase].filter(({ step }) => step <= event.global_step);
    }
    if (event.type === "step") run.phases[event.phase].global_step = event.step;
    if (event.type === "log") run.logs[event.phase].push(event.record);
    if (event.type === "generated") run.completions = [...run.completions, event].slice(-4);
    if (event.type === "evaluated") {
      run.evaluations.push(event.evaluation);
      run.accuracy = event.evaluation.accuracy;
    }
    if (event.type === "end") run.status = "finished";
  });
}

/** What the worker answers about a job that cannot run. */
function refused(job: Job, token: string | null): JobPlan | null {
  const wrong = { ...plan(job, true), phases: [], fits: false, time: null };
  if (fake === "split" && job.phases.length === 2) {
    const problem = "eval_strategy is steps, but your own file has no test split: set eval_strategy to no";
    return { ...wrong, problem, error: "RecipeError" };
  }
  if (fake === "gated" && job.model.kind === "hub" && token !== "hf_fake") {
    const problem = `Cannot fetch the model ${job.model.id}: huggingface.co/api/models answers 401 GatedRepo: it is gated or private (set HF_TOKEN), or the name does not exist: the hub gives the same answer for both`;
    return { ...wrong, problem, error: "NotFoundError" };
  }
  return null;
}

function plan(job: Job, exact: boolean): JobPlan {
  const large = job.model.kind === "hub";
  const phases = job.phases.map(({ method, recipe }) => {
    const made = planOf(method, recipe);
    if (!large) return made;
    const byKind = Object.fromEntries(
      Object.entries(made.memory.byKind).map(([kind, bytes]) => [kind, bytes * (kind === "weights" ? 520 : 60)]),
    );
    const peak = Object.values(byKind).reduce((a, b) => a + b);
    return { ...made, memory: { peak, byKind }, parameters: 494_032_768, trainable: 8_798_208, rows: 7473 };
  });
  const short = fake === "memory" && large;
  return {
    phases,
    fits: !short,
    error: short ? "MemoryError" : null,
    problem: short
      ? "GRPO needs 3.2 GB of GPU memory, and 2.1 GB are free. It would fit with max_completion_length 128, or with per_device_train_batch_size 4"
      : null,
    download: job.model.kind === "hub" && !downloaded.has(job.model.id) ? 999e6 : 0,
    exact,
    available: fake === "memory" ? 2.1e9 : null,
    disk: { run: 12e6, free: 20e9 },
    time: short
      ? null
      : { seconds: 260, phases: phases.map(() => 200 / phases.length), heldOut: 60, basis: "measurement" },
    ways:
      short && exact
        ? [
            {
              phase: job.phases.length - 1,
              text: "max completion length 128",
              fields: { max_completion_length: 128 },
              peak: 1.9e9,
            },
          ]
        : [],
  };
}

async function preview(source: DataSource): Promise<DataPreview> {
  await later(30);
  if (source.kind === "file") return filePreview(source.file);
  const rows = wordProblems({ seed: 4, count: 20, split: "train" }).map(({ question, answer }) => [question, answer]);
  return {
    form: "question and answer",
    unused: [],
    columns: ["question", "answer"],
    rows,
    columnsTaken: { question: "question", answer: "answer" },
    problem: null,
    count: 1024,
  };
}

async function filePreview(file: File): Promise<DataPreview> {
  if (file.name.endsWith(".jsonl")) {
    const rows = (await file.text()).trim().split("\n");
    const taken = { messages: "messages" };
    return {
      form: "conversation",
      unused: [],
      columns: ["messages"],
      rows: rows.map((row) => [row]),
      columnsTaken: taken,
      problem: null,
      count: rows.length,
    };
  }
  const lines = (await file.text()).trim().split("\n");
  const [head, ...rest] = lines.map((line) => line.split(";"));
  const named = ["question", "answer"].every((name) => head.includes(name));
  return {
    form: named ? "question and answer" : null,
    unused: head.filter((name) => !["question", "answer"].includes(name)),
    columns: head,
    rows: rest,
    columnsTaken: named ? { question: "question", answer: "answer" } : null,
    problem: named ? null : `Rows of ${file.name} have the columns ${head.join(", ")}: say which are which.`,
    count: rest.length,
  };
}

const CUT = new NetworkError("Cannot download model.safetensors: the connection was cut at 61 %, after 5 tries");
/** Hub models that download() has fetched. */
const downloaded = new Set<string>();

async function* download(
  source: ModelSource | DataSource,
  { signal }: { signal?: AbortSignal } = {},
): AsyncGenerator<RunEvent> {
  for (let done = 0; done <= 999e6; done += 99.9e6) {
    signal?.throwIfAborted();
    if (fake === "network" && done > 6e8) throw CUT;
    yield { type: "progress", what: "downloading model.safetensors", done, total: 999e6, unit: "bytes" };
    await later(stepTime);
  }
  if (source.kind === "hub") downloaded.add(source.id);
}

const MARKDOWN = `## Sums

- one
- two and \`code\`

| a | b |
|---|---|
| 1 | 2 |

It costs $5 and $6. $x^2$ is \\boxed{4}. [here](https://example.org/) [not](javascript:alert(1)) ![no](https://example.org/x.png)`;

/** What was asked and forecast, for tests. */
const chats: unknown[] = [];
const plans: Job[] = [];
Object.assign(globalThis, { chats, plans });

async function* chat(
  request: Parameters<Trainer["chat"]>[0],
  { signal }: { signal?: AbortSignal } = {},
): AsyncGenerator<ChatEvent> {
  chats.push(structuredClone(request));
  yield { type: "progress", what: "loading the model", done: 1e6, total: 1.9e6 };
  await later(stepTime);
  const { content: asked, images = [] } = request.messages.at(-1)!;
  if (fake === "blind" && images.length > 0) {
    throw new UnsupportedError("Cannot look at an image: the embedded model has no vision tower. Remove the image.");
  }
  const text = /html/i.test(asked)
    ? (hostile() ?? HOSTILE)
    : asked === "markdown"
      ? MARKDOWN
      : images.length > 0
        ? `I see ${images.length}: ${images.map(({ type, size }) => `${type} of ${size} bytes`).join(", ")}`
        : request.adapter
          ? "<reasoning>\n12+5=17\n</reasoning>\n<answer>\n17\n</answer>\n"
          : "There are 12 apples and 5 more apples. 12";
  for (const piece of text.match(/[\s\S]{1,6}/g)!) {
    if (signal?.aborted) return;
    yield { type: "text", text: piece };
    await later(stepTime / 4);
  }
  yield { type: "end", finish_reason: "stop", tokens: 30, seconds: 1 };
}

/** Puts runs into storage as if they had been made, for pictures and for the history. */
export function seedRuns(): void {
  const embedded: ModelSource = { kind: "embedded" };
  const job = (name: string, methods: readonly ("sft" | "grpo")[], steps: number): Job => ({
    name,
    model: embedded,
    phases: methods.map((method) => ({
      method,
      data: { kind: "embedded", rows: method === "sft" ? "sft" : "prompts" },
      recipe: { max_steps: steps },
    })),
    evaluate: { data: { kind: "embedded", rows: "prompts" }, problems: 40 },
  });
  const made = (id: string, one: Job, created: number, tilt: number): RunRecord => {
    const record = newRecord(id, one, created);
    record.status = "finished";
    record.evaluations = [evaluationOf("base", 0, 40)];
    one.phases.forEach(({ method, recipe }, i) => {
      const steps = Number(recipe.max_steps);
      record.phases[i].global_step = steps;
      record.logs[i] = Array.from({ length: steps }, (_, s) => {
        const log = logAt(method, s + 1, steps * tilt);
        return log;
      });
      record.evaluations.push(evaluationOf(method, i, 40));
    });
    record.phase = one.phases.length - 1;
    record.accuracy = record.evaluations.at(-1)!.accuracy;
    return record;
  };
  const day = 86_400_000;
  const now = Date.now();
  const paused = newRecord("seed-3", job("Longer answers", ["grpo"], 60), now - 3 * day);
  paused.status = "paused";
  paused.phases[0].global_step = 20;
  paused.logs[0] = Array.from({ length: 20 }, (_, s) => logAt("grpo", s + 1, 60));
  save([
    paused,
    made("seed-2", job("Word problems, gentle", ["sft", "grpo"], 60), now - day, 1.5),
    made("seed-1", job("Word problems", ["sft", "grpo"], 60), now - 3_600_000, 1),
  ]);
}
if (wanted.has("seed") && localStorage.getItem(RUNS) === null) seedRuns();
