import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openRewards } from "../../src/cli/sources/rewards.ts";
import { GSM8K_REWARDS } from "../../src/rewards/registry.ts";
import { type RewardBatch, runRewards } from "../../src/rewards/run.ts";

const root = mkdtempSync(join(tmpdir(), "qwench-rewards-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Milliseconds for what comes at once where the machine is calm. */
const PATIENCE = 120_000;

let count = 0;
/** Writes a module; gives its path. */
function moduleOf(text: string, name = `mine-${++count}.mjs`): string {
  const path = join(root, name);
  writeFileSync(path, text);
  return path;
}

const batch: RewardBatch = {
  prompts: ["1+1=", "1+1=", "2+2="],
  completions: ["2", "3", "four"],
  columns: { answer: ["2", "2", "4"] },
  step: 5,
};

/** Runs the functions of entries over the batch. */
async function scored(
  entries: readonly string[],
  timeout_ms: number | null = PATIENCE,
  signal: AbortSignal | null = null,
) {
  const { rewards } = await openRewards(entries);
  return runRewards(rewards, null, batch, { timeout_ms, signal });
}

describe("reward_funcs", () => {
  it("takes registered names, in order", async () => {
    const { rewards, notes } = await openRewards(GSM8K_REWARDS);
    expect(rewards.map(({ name }) => name)).toEqual(GSM8K_REWARDS);
    expect(notes).toEqual([]);
  });

  it("takes a module's export, with prompts, completions, columns and context, sync or async", async () => {
    const path = moduleOf(`
      export const exact = (prompts, completions, { answer }) => completions.map((c, i) => (c === answer[i] ? 1 : 0));
      export async function told(prompts, completions, columns, { step, signal }) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return completions.map((c, i) => (i === 2 ? null : step + prompts[i].length + (signal.aborted ? 100 : 0)));
      }`);
    const { names, rewards } = await scored([`${path}:exact`, "int_reward_func", `${path}:told`]);
    expect(names).toEqual(["exact", "int_reward_func", "told"]);
    expect(rewards).toEqual([
      [1, 0, 0],
      [0.5, 0.5, 0],
      [9, 9, null],
    ]);
  });

  it("without an export's name takes the default export, else the only function; metrics carry a name that tells", async () => {
    const named = moduleOf(
      "export default function brevity(p, c) { return c.map((t) => -t.length); } export const other = () => [];",
    );
    const nameless = moduleOf("export default (p, c) => c.map(() => 1);", "politeness.mjs");
    const only = moduleOf("export const WEIGHT = 2; export const single = (p, c) => c.map(() => WEIGHT);");
    const { names, rewards } = await scored([named, nameless, only]);
    expect(names).toEqual(["brevity", "politeness", "single"]);
    expect(rewards).toEqual([
      [-1, -1, -4],
      [1, 1, 1],
      [2, 2, 2],
    ]);
  });

  it("keeps a module's own state from batch to batch", async () => {
    const path = moduleOf("let calls = 0; export const calls_ = (p, c) => { calls++; return c.map(() => calls); };");
    const { rewards } = await openRewards([path]);
    await runRewards(rewards, null, batch, { timeout_ms: PATIENCE });
    const second = await runRewards(rewards, null, batch, { timeout_ms: PATIENCE });
    expect(second.rewards).toEqual([[2, 2, 2]]);
  });

  it("ends its threads when it is closed", async () => {
    const path = moduleOf("export const f = (p, c) => c.map(() => 1);");
    const { rewards, close } = await openRewards([path, "int_reward_func"]);
    await close();
    await expect(runRewards(rewards, null, batch, { timeout_ms: PATIENCE })).rejects.toThrow(/ended its thread/);
  });

  it.each([
    [
      ["correctnes_reward_func"],
      /There is no reward function correctnes_reward_func: did you mean correctness_reward_func\?/,
    ],
    [["my_own"], /There is no reward function my_own\. There are .*int_reward_func.*a module is named by its path/],
    [[join(root, "none.mjs")], /NotFoundError: Cannot load the rewards in .*none\.mjs: there is no such file/],
    [["./rewards"], /NotFoundError: Cannot load reward_funcs \.\/rewards: a module's name ends in \.js/],
  ])("%j is refused", async (entries, message) => {
    await expect(openRewards(entries).catch((e) => `${e.name}: ${e.message}`)).resolves.toMatch(message);
  });

  it.each([
    [
      "export const a = () => [], b = () => [], pi = 3;",
      "",
      /has no default export; it exports a, b, pi\. Name one, such as .*:a$/,
    ],
    ["export const a = () => [];", ":b", /mjs has no b; it exports a$/],
    ["", "", /has no default export; it exports nothing$/],
    ["export const pi = 3;", ":pi", /RecipeError: Cannot use .*: pi is of type number, not a function/],
    ["export default 3;", "", /default is of type number, not a function/],
    ["export const prompt = () => [];", "", /is called prompt, which is also a column of the completions/],
    ["export const a = () => [", "", /FormatError: Cannot load the rewards in .*: SyntaxError: /],
    ["throw new TypeError('no key');", "", /FormatError: Cannot load the rewards in .*: TypeError: no key/],
    [
      "import 'no-such-package';",
      "",
      /FormatError: Cannot load the rewards in .*: Error: Cannot find package 'no-such-package'/,
    ],
  ])("a module of %j, asked for %j, is refused", async (text, suffix, message) => {
    const path = moduleOf(text);
    await expect(openRewards([path + suffix]).catch((e) => `${e.name}: ${e.message}`)).resolves.toMatch(message);
  });

  it("two functions of one name are refused before the run", async () => {
    const [a, b] = [moduleOf("export const same = () => [];"), moduleOf("export const same = () => [];")];
    await expect(openRewards([a, b])).rejects.toThrow(/ are both called same: their metrics would mix/);
  });
});

describe("a module's function that fails", () => {
  it.each([
    [
      "(p, c) => { throw new RangeError('bad ' + c.length); }",
      /Reward f failed on row 1 of 3 \(prompt "1\+1=", completion "2"\): RangeError: bad/,
    ],
    ["(p, c) => c.map((t) => t.match(/\\d/)[0] * 1)", /failed on row 3 of 3 .*completion "four"\): TypeError: /],
    ["(p, c) => [1]", /Reward f returned 1 rewards for 3 completions/],
    ["(p, c) => [1, NaN, 1]", /Reward f returned NaN for row 2 of 3/],
    ["() => 7", /Reward f must return an array .* not 7/],
    ["() => [() => 1]", /could not be cloned/],
    ["() => process.exit(3)", /f\.mjs ended its thread, with code 3/],
  ])("%s is told with the row", async (code, message) => {
    const path = moduleOf(`export const f = ${code};`, `${++count}-f.mjs`);
    await expect(scored([path])).rejects.toThrow(message);
  });

  it.each([
    ["never settles", "() => new Promise(() => {})"],
    ["computes for ever", "() => { for (;;); }"],
  ])("one that %s is given up after its time, and its thread ended", async (_, code) => {
    const path = moduleOf(`export const f = ${code};`);
    const { rewards } = await openRewards([path]);
    await expect(runRewards(rewards, null, batch, { timeout_ms: 300 })).rejects.toThrow(
      /Reward f has not returned for 3 completions within 300 ms/,
    );
    // once the grace is over that a function has to stop by itself
    const again = () => runRewards(rewards, null, batch, { timeout_ms: 100 }).catch(String);
    await expect.poll(again).toMatch(/ended its thread/);
  });

  it("one that listens to its signal may clean up", async () => {
    const [begun, flag] = [join(root, "begun"), join(root, "cleaned")];
    const path = moduleOf(`
      import { writeFileSync } from "node:fs";
      export const f = (p, c, columns, { signal }) => new Promise((_, reject) => {
        signal.addEventListener("abort", () => { writeFileSync(${JSON.stringify(flag)}, "yes"); reject(signal.reason); });
        writeFileSync(${JSON.stringify(begun)}, "yes");
      });`);
    const stop = new AbortController();
    const { rewards } = await openRewards([path]);
    const waiting = runRewards(rewards, null, batch, { timeout_ms: null, signal: stop.signal });
    void expect
      .poll(() => existsSync(begun))
      .toBe(true)
      .then(() => stop.abort());
    await expect(waiting).rejects.toThrow(/The run was stopped/);
    await expect.poll(() => existsSync(flag)).toBe(true);
  });
});

describe("TypeScript", () => {
  it("is run where the runtime can, and else refused with what would run it", async () => {
    const path = moduleOf("export const typed = (p: string[], c: string[]): number[] => c.map(() => 1);", "typed.ts");
    // these tests run under vite, which loads TypeScript in the main thread
    const { rewards, notes } = await openRewards([path]);
    const { rewards: got } = await runRewards(rewards, null, batch, { timeout_ms: PATIENCE });
    expect(got).toEqual([[1, 1, 1]]);
    if (notes.length > 0) expect(notes).toEqual([expect.stringContaining("typed.ts runs in the main thread here")]);
  });
});
