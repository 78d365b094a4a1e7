import type { ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { contents } from "../train/fixtures.ts";
import { at, completionsOf, grpoArgs, learnt, mine, useGrpoInputs } from "./grpo-e2e.ts";
import { qwench, useProcesses } from "./process.ts";

// `qwench grpo` as a process of its own: what a kill and a Ctrl-C leave behind, in the middle of a generation batch too.

useProcesses();
useGrpoInputs();

// a generation batch serves two steps, twice over: step 3 is in the middle of one. The reward takes a while, so that a
// signal meets a step in flight.
const slow = (output: string, ...more: string[]) =>
  grpoArgs(
    output,
    mine("slow"),
    ..."--max_steps 6 --save_steps 3 --steps_per_generation 2 --num_iterations 2 --beta 0.1 --lora_dropout 0.1".split(
      " ",
    ),
    ...more,
  );

let straight: string[];

beforeAll(async () => {
  const { code, said } = await qwench(slow(at("straight")));
  expect(code, said).toBe(0);
  straight = learnt(at("straight"));
  expect(straight.map((line) => JSON.parse(line).step)).toEqual([1, 2, 3, 4, 5, 6]);
});

async function expectSame(output: string): Promise<void> {
  expect(learnt(output)).toEqual(straight);
  expect(completionsOf(output)).toBe(completionsOf(at("straight")));
  const [got, want] = [await contents(nodeFolder(output)), await contents(nodeFolder(at("straight")))];
  for (const name of ["adapter_model.safetensors", "checkpoint-6/optimizer.safetensors"])
    expect(got[name], name).toBe(want[name]);
}

describe("a run that ends early", () => {
  it("kill -9 after the checkpoint of step 3, amid a generation batch: resumed, the same numbers, bit for bit", async () => {
    const output = at("killed");
    const first = await qwench(slow(output), { at: ["checkpoint-3", "SIGKILL"] });
    expect(first.signal).toBe("SIGKILL");
    expect(await nodeFolder(output).exists("adapter_model.safetensors")).toBe(false);
    const second = await qwench(slow(output, "--resume_from_checkpoint", "true"));
    expect(second.code, second.said).toBe(0);
    expect(second.said).toContain("Resumed after step 3");
    await expectSame(output);
  });

  it("Ctrl-C saves at the step boundary and exits 130; resumed, the numbers are the same", async () => {
    const output = at("interrupted");
    const first = await qwench(slow(output), { at: ["step 2/6", "SIGINT"] });
    expect(first.code, first.said).toBe(130);
    expect(first.said).toMatch(
      /Stopping at the next step boundary[\s\S]*Stopped after step (\d) of 6; checkpoint-\1 holds/,
    );
    expect(readFileSync(join(output, "report.html"), "utf8")).toContain("GRPO, interrupted");
    const second = await qwench(slow(output, "--resume_from_checkpoint", "true"));
    expect(second.code, second.said).toBe(0);
    await expectSame(output);
  });

  it("Ctrl-C during an endless reward ends the run, and the earlier run in its folder is intact", async () => {
    const before = await contents(nodeFolder(at("straight")));
    const file = join(mkdtempSync(at("endless-")), "endless.mjs");
    writeFileSync(
      file,
      'import { writeSync } from "node:fs"; export default () => { writeSync(2, "begun"); for (;;); };',
    );
    const argv = grpoArgs(at("straight"), [file], "--overwrite_output_dir", "true");
    let sent = false; // by another thread, so it is sent from here
    const onSaid = (said: string, child: ChildProcess) => {
      if (sent || !said.includes("begun")) return;
      sent = true;
      child.kill("SIGINT");
    };
    const { code, said } = await qwench(argv, { onSaid });
    expect(code, said).toBe(130);
    expect(said).toContain("Stopped before the first step; nothing was written");
    expect(await contents(nodeFolder(at("straight")))).toEqual(before);
  });
});

it("a module in TypeScript", async () => {
  const file = join(mkdtempSync(at("typed-")), "rewards.ts");
  writeFileSync(
    file,
    `interface Message { content: string }
export default function brief(prompts: unknown[], completions: Message[][]): number[] {
  return completions.map(([{ content }]) => -content.length);
}`,
  );
  const { code, said } = await qwench(grpoArgs(at("typed"), [file], "--max_steps", "1"), { sources: true });
  expect(code, said).toBe(0);
  expect(JSON.parse(learnt(at("typed"))[0])["rewards/brief/mean"]).toBeLessThan(0);
});
