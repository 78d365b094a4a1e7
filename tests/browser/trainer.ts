import type { Page } from "puppeteer-core";
import type { Job, RunEvent, Trainer, TrainerOptions } from "../../src/client.ts";
import type { Folder } from "../../src/io/storage.ts";
import { tinyChatModel } from "../train/grpo/fixtures.ts";
import { bundle, type SiteFiles } from "./site.ts";

declare global {
  /** of pages/client.ts */
  var client: typeof import("../../src/client.ts");
  var trainer: Trainer;
}

/**
 * A page with the client, its worker, and a random model of two layers as the embedded one.
 *
 * @param entry the page's script
 */
export async function trainerSite(model?: Folder, entry = "tests/browser/pages/client.ts"): Promise<SiteFiles> {
  const files = await bundle(entry);
  const folder = model ?? (await tinyChatModel());
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files.set(`tiny/${name}`, await source.read(0, source.size));
  }
  return files;
}

/** Makes `trainer` in a page. */
export async function makeTrainer(page: Page, options: TrainerOptions = {}): Promise<void> {
  await page.evaluate((options) => {
    globalThis.trainer = client.createTrainer(options);
  }, options as never);
}

/** Recipes for quick runs: every step logged, nothing random but the draws. */
export const QUICK = {
  sft: {
    per_device_train_batch_size: 2,
    max_steps: 3,
    logging_steps: 1,
    learning_rate: 1e-2,
    lora_r: 4,
    lora_dropout: 0,
    max_length: 256,
  },
  grpo: {
    per_device_train_batch_size: 4,
    num_generations: 4,
    max_completion_length: 6,
    max_steps: 2,
    logging_steps: 1,
    learning_rate: 1e-2,
    lora_dropout: 0,
    // a random model earns nothing: what it learns here is to stay near the reference
    beta: 0.1,
    reward_funcs: ["xmlcount_reward_func"],
  },
};

export const JOB: Job = {
  name: "SFT, then GRPO",
  model: { kind: "embedded" },
  phases: [
    { method: "sft", data: { kind: "embedded", rows: "sft" }, recipe: QUICK.sft },
    { method: "grpo", data: { kind: "embedded", rows: "prompts" }, recipe: QUICK.grpo },
  ],
  evaluate: { data: { kind: "embedded", rows: "prompts" }, problems: 3 },
};

/** The bytes of a blob that a page's function gives. */
export async function bytesFrom(page: Page, run: string, kind: string): Promise<{ name: string; bytes: Uint8Array }> {
  const { name, values } = await page.evaluate(
    async (run, kind) => {
      const { name, blob } = await trainer.export(run, kind as "adapter");
      return { name, values: Array.from(new Uint8Array(await blob.arrayBuffer())) };
    },
    run,
    kind,
  );
  return { name, bytes: Uint8Array.from(values) };
}

export interface Outcome {
  events: RunEvent[];
  error: { name: string; message: string; ours: boolean } | null;
}

/**
 * Runs a run and gathers its events.
 *
 * @param leaveAfter leaves the iteration after so many step events
 */
export function start(page: Page, id: string, { leaveAfter = 0, abortAfter = 0 } = {}): Promise<Outcome> {
  return page.evaluate(
    async (id, leaveAfter, abortAfter) => {
      const events: RunEvent[] = [];
      const control = new AbortController();
      let steps = 0;
      try {
        for await (const event of trainer.runs.start(id, { signal: control.signal })) {
          events.push(event);
          if (event.type !== "step") continue;
          steps++;
          if (steps === leaveAfter) break;
          if (steps === abortAfter) control.abort();
        }
        return { events, error: null };
      } catch (error) {
        const { name, message } = error as Error;
        return { events, error: { name, message, ours: error instanceof client.QwenchError } };
      }
    },
    id,
    leaveAfter,
    abortAfter,
  );
}

/** What logs say about learning: everything but the clock. */
export function learnt(events: readonly RunEvent[]): string[] {
  return events.flatMap((event) => {
    if (event.type !== "log") return [];
    const { step_time: _, tokens_per_second: __, ...rest } = event.record;
    return [JSON.stringify({ phase: event.phase, ...rest })];
  });
}
