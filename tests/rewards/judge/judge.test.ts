import { afterEach, describe, expect, test, vi } from "vitest";
import { parseRecipe } from "../../../src/recipe/recipe.ts";
import { type JudgeCache, type JudgeOptions, judgeOptions, openJudge } from "../../../src/rewards/judge/judge.ts";
import { rewardNamed } from "../../../src/rewards/registry.ts";
import type { RewardFunction } from "../../../src/rewards/reward.ts";
import { runRewards } from "../../../src/rewards/run.ts";
import { type Answer, fails, inTurn, type JudgeServer, says, serveJudge } from "./judge-server.ts";

const KEY = "sk-secret-0123456789";
let server: JudgeServer;
afterEach(() => server?.close());

async function judgeAt(answer: Answer, changes: Partial<JudgeOptions> = {}) {
  server = await serveJudge(answer);
  const recipe = parseRecipe({ judge_url: server.url, judge_model: "grader" }, "grpo").recipe;
  return openJudge({
    ...judgeOptions(recipe, { key: KEY, fetch, backoff_ms: 5, cache: null }),
    attempts: 4,
    timeout_ms: 120_000,
    ...changes,
  });
}

const completions = ["four", "five", "six"];
const scores = (reward: RewardFunction, of: readonly string[] = completions, signal = new AbortController().signal) =>
  reward(
    of.map(() => [{ role: "user", content: "2 + 2?" }]),
    of,
    { answer: of.map(() => "4") },
    { step: 0, completion_ids: null, signal },
  );
const message = async (work: unknown) => {
  const error = await Promise.resolve(work).then(
    () => null,
    (reason: Error) => reason,
  );
  return `${error?.name}: ${error?.message}`;
};

/** A cache in memory. */
function kept(): JudgeCache & { entries: Map<string, unknown> } {
  const entries = new Map();
  return {
    entries,
    get: async (question) => entries.get(question) ?? null,
    put: async (question, reply) => void entries.set(question, reply),
  };
}

describe("a judge that answers", () => {
  test("is asked with the prompt, and its score becomes a reward from 0 to 1", async () => {
    const judge = await judgeAt((res, asked, n) =>
      says(asked.body.messages[0].content.includes("four") ? "Right.\n\n**Score: 10**" : "score 1, no: Score = 2.5")(
        res,
        asked,
        n,
      ),
    );
    expect(await scores(judge.reward)).toEqual([1, 0.25, 0.25]);
    const [first] = server.asked;
    expect(first.path).toBe("/v1/chat/completions");
    expect(first.authorization).toBe(`Bearer ${KEY}`);
    expect(first.body).toMatchObject({ model: "grader", temperature: 0, messages: [{ role: "user" }] });
    expect(first.body.messages[0].content).toContain("<task>\n2 + 2?\n</task>\n\n<answer>\nfour\n</answer>");
    expect(first.body.messages[0].content).toContain("from 0 (useless or wrong) to 10");
    expect(judge.usage()).toEqual({
      asked: 3,
      cached: 0,
      retries: 0,
      prompt_tokens: 300,
      completion_tokens: 30,
      cost: 0,
      unscored: 0,
    });
  });

  test("a custom prompt: columns by name, doubled braces, no repeated replacement", async () => {
    const prompt = "{{Gold}} {answer}: {completion} of {prompt}";
    const judge = await judgeAt(says("<grade>3</grade>"), {
      prompt,
      score_pattern: "<grade>(\\d+)",
      score_min: 1,
      score_max: 5,
    });
    expect(await scores(judge.reward, ["{answer}"])).toEqual([0.5]);
    expect(server.asked[0].body.messages[0].content).toBe("{Gold} 4: {answer} of 2 + 2?");
    expect(await message(scores((await judgeAt(says(""), { prompt: "{gold}" })).reward))).toBe(
      "DataError: judge_prompt contains {gold}, but the row has only answer, prompt, completion, score_min, score_max; write {{gold}} for literal braces",
    );
  });

  test("equal questions are asked once, within the concurrency limit, and cached ones not again", async () => {
    const cache = kept();
    // answers wait until two questions are open, and then for a third that must not come
    const slow: Answer = async (...args) => {
      await vi.waitUntil(() => server.busiest > 1, { timeout: 60_000 });
      setTimeout(() => says("Score: 5")(...args), 40);
    };
    const judge = await judgeAt(slow, { concurrency: 2, cache });
    const many = ["a", "b", "a", "c", "d", "e", "a"];
    expect(await scores(judge.reward, many)).toEqual(many.map(() => 0.5));
    expect(server.asked).toHaveLength(5);
    expect(server.busiest).toBe(2);
    expect(await scores(judge.reward, many)).toEqual(many.map(() => 0.5));
    expect(server.asked).toHaveLength(5);
    expect(judge.usage()).toMatchObject({ asked: 5, cached: 5 });
    expect(
      [...cache.entries]
        .flat()
        .map((part) => JSON.stringify(part))
        .join(),
    ).not.toContain(KEY);
  });

  test("the cost is counted, and limited", async () => {
    const judge = await judgeAt(says("Score: 5"), {
      price_prompt: 2.5,
      price_completion: 10,
      max_cost: 0.0006,
      concurrency: 1,
    });
    expect(await scores(judge.reward, ["a"])).toEqual([0.5]);
    expect(judge.usage().cost).toBeCloseTo((100 * 2.5 + 10 * 10) / 1e6, 12);
    expect(await message(scores(judge.reward, ["b", "c", "d"]))).toBe(
      "TrainingError: The judge has cost 0.00 USD after 2 replies, but judge_max_cost is 0.0006",
    );
    expect(server.asked).toHaveLength(2);
  });
});

describe("a judge that does not", () => {
  test("429 with Retry-After, 500, malformed JSON, no content, a broken connection: asked again, and the run continues", async () => {
    const judge = await judgeAt(
      inTurn(
        fails(429, "slow down", { "retry-after": "0.3" }),
        fails(500, "oops"),
        (res) => void res.writeHead(200).end('{"choices": [{"mess'),
        says("Score: 7"),
      ),
    );
    const before = performance.now();
    expect(await scores(judge.reward, ["a"])).toEqual([0.7]);
    expect(performance.now() - before).toBeGreaterThan(290);
    expect(judge.usage()).toMatchObject({ asked: 1, retries: 3 });

    const other = await judgeAt(
      inTurn(
        (res) => res.destroy(),
        (res) => void res.writeHead(200).end('{"choices": []}'),
        says("Score: 7"),
      ),
    );
    expect(await scores(other.reward, ["a"])).toEqual([0.7]);
  });

  test("a requested wait applies to all requests", async () => {
    const judge = await judgeAt(inTurn(fails(429, "", { "retry-after": "0.4" }), says("Score: 7")), { concurrency: 1 });
    await scores(judge.reward, ["a", "b", "c"]);
    const [first, ...others] = server.asked.map(({ at }) => at);
    expect(Math.min(...others) - first).toBeGreaterThan(390);
  });

  test("slow requests time out and are repeated", async () => {
    const never: Answer = () => {};
    const judge = await judgeAt(inTurn(never, says("Score: 7")), { timeout_ms: 500 });
    expect(await scores(judge.reward, ["a"])).toEqual([0.7]);
    const trickling: Answer = (res) => {
      res.writeHead(200);
      const timer = setInterval(() => res.write(" "), 20);
      res.on("close", () => clearInterval(timer));
    };
    const other = await judgeAt(inTurn(trickling), { timeout_ms: 150, attempts: 2 });
    expect(await message(scores(other.reward, ["a"]))).toMatch(
      /^NetworkError: Cannot ask the judge at http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions: no answer within 0.15 s \(2 attempts\)$/,
    );
  });

  test.each<[string, Answer, RegExp, number]>([
    ["500, always", fails(500, "oops"), /: it answers 500 \(oops\) \(4 attempts\)$/, 4],
    ["429, always", fails(429, "", { "retry-after": "0" }), /: it answers 429 \(4 attempts\)$/, 4],
    [
      "429 for an hour",
      fails(429, "quota", { "retry-after": "3600" }),
      /answers 429 \(quota\); it asks to wait 3600 s$/,
      1,
    ],
    [
      "not JSON, always",
      (res) => void res.end("<html>Hello"),
      /: its answer is not JSON \(<html>Hello\) \(4 attempts\)$/,
      4,
    ],
    [
      "JSON of another kind",
      (res) => void res.end("null"),
      /has no choices\[0\]\.message\.content \(null\) \(4 attempts\)/,
      4,
    ],
    ["401", fails(401, "who?"), /answers 401 \(who\?\); it rejects the key in QWENCH_JUDGE_KEY$/, 1],
    ["404", fails(404), /answers 404; check the address, and that it serves the model grader$/, 1],
    ["400", fails(400, "bad\n temperature"), /answers 400 \(bad temperature\)$/, 1],
    ["a redirect", fails(302, "", { location: "http://127.0.0.1:9/" }), /the connection failed .* \(4 attempts\)$/, 4],
    ["too much", (res) => void res.end("x".repeat(5 << 20)), /its answer is longer than 4\.00 MiB \(4 attempts\)$/, 4],
  ])("%s: the run stops with a message, or continues without the reward", async (_, answer, sentence, requests) => {
    const judge = await judgeAt(answer);
    const said = await message(scores(judge.reward, ["a"]));
    expect(said).toMatch(/^NetworkError: Cannot ask the judge at http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions: /);
    expect(said).toMatch(sentence);
    expect(server.asked).toHaveLength(requests);
    // no further requests to find the faulty row
    const batch = { prompts: ["?"], completions: ["a"], columns: {}, step: 0 };
    const run = runRewards([{ name: "judge", reward: judge.reward }], null, batch, { timeout_ms: 120_000 });
    expect(await message(run)).toContain("TrainingError: Reward judge failed on row 1 of 1");
    expect(server.asked).toHaveLength(requests);

    const skipping = await judgeAt(answer, { on_error: "skip" });
    expect(await scores(skipping.reward, ["a", "b"])).toEqual([null, null]);
    expect(skipping.usage()).toMatchObject({ asked: 0, unscored: 2 });
  });

  test.each(["Score: 11", "Score: -1", "Score: 99999999999999999999", "Great!", "", "Score: high"])(
    "%j: asked once more, then left without a reward; a whole batch of them stops the run",
    async (text) => {
      const bad: Answer = (res, asked, n) =>
        says(asked.body.messages[0].content.includes("four") ? "Score: 9" : text)(res, asked, n);
      const judge = await judgeAt(bad);
      expect(await scores(judge.reward)).toEqual([0.9, null, null]);
      expect(server.asked).toHaveLength(1 + 2 + 2);
      expect(judge.usage()).toMatchObject({ asked: 5, unscored: 2 });
      expect(await message(scores(judge.reward, ["five"]))).toContain(
        `TrainingError: None of the judge's replies to 1 completions has a score from 0 to 10 that judge_score_pattern finds: the last reply ends with ${JSON.stringify(text)}`,
      );
    },
  );

  test("a second reply with a score in range counts", async () => {
    const judge = await judgeAt(inTurn(says("Score: 12"), says("Score: 8")));
    expect(await scores(judge.reward, ["a"])).toEqual([0.8]);
  });

  test("a stopped run does not wait", async () => {
    for (const answer of [() => {}, fails(429, "", { "retry-after": "100" })] as Answer[]) {
      const judge = await judgeAt(answer, { timeout_ms: 3_600_000 }); // waiting would outlast the test
      const stop = new AbortController();
      const running = message(scores(judge.reward, completions, stop.signal));
      setTimeout(() => stop.abort(), 100);
      expect(await running).toBe("AbortError: The run was stopped while it asked the judge");
    }
  });
});

describe("the key", () => {
  test("is in no error, for any text of the server or the connection", async () => {
    const echo: Answer = (res, asked) => void res.writeHead(400).end(`bad request, you sent ${asked.authorization}`);
    const later: Answer = (res, asked) => void res.writeHead(503).end(JSON.stringify({ error: asked.authorization }));
    const score: Answer = (res, asked, n) => says(`You are ${asked.authorization}`)(res, asked, n);
    for (const answer of [echo, later, score]) {
      const judge = await judgeAt(answer);
      const error = await Promise.resolve(scores(judge.reward, ["a"])).catch((reason: Error) => reason);
      expect(error).toBeInstanceOf(Error);
      const { message, stack, cause } = error as Error;
      expect(message).toContain("[key]");
      expect(`${message}${stack}${JSON.stringify(cause)}${JSON.stringify(error)}`).not.toContain(KEY);
    }
    const throws = (() => Promise.reject(new TypeError(`fetch failed with Bearer ${KEY}`))) as typeof fetch;
    const judge = await judgeAt(says(""), { fetch: throws });
    expect(await message(scores(judge.reward, ["a"]))).toContain(
      "the connection failed (fetch failed with Bearer [key])",
    );
  });

  test("is in no cached reply", async () => {
    const cache = kept();
    const judge = await judgeAt((res, asked, n) => says(`${asked.authorization} Score: 5`)(res, asked, n), { cache });
    expect(await scores(judge.reward, ["a"])).toEqual([0.5]);
    const text = JSON.stringify([...cache.entries]);
    expect(text).toContain("Bearer [key] Score: 5");
    expect(text).not.toContain(KEY);
  });

  test.each<[Partial<JudgeOptions>, string]>([
    [{ key: "two words" }, "QWENCH_JUDGE_KEY must be one word of ASCII characters, because it is sent in a header"],
    [{ key: "line\n" }, "QWENCH_JUDGE_KEY must be one word"],
    [
      { url: "http://user:pass@host/v1" },
      "judge_url must not contain a password: put the key into the environment variable",
    ],
    [
      { url: "api.openai.com" },
      "judge_url must be an http or https address such as https://api.openai.com/v1, not api.openai.com",
    ],
    [{ url: "file:///etc/passwd" }, "judge_url must be an http or https address"],
    [
      { parameters: { api_key: "x" } },
      "judge_parameters must not contain api_key: put a key into the environment variable",
    ],
    [{ score_min: 5, score_max: 5 }, "judge_score_min must be below judge_score_max: 5 is not below 5"],
    [{ score_pattern: "(" }, "judge_score_pattern ( is not a valid regular expression"],
    [{ score_pattern: "\\d+" }, "judge_score_pattern \\d+ must have a group, in parentheses, for the score"],
  ])("%j: %s", async (changes, said) => {
    const text = await message(judgeAt(says(""), changes));
    expect(text).toContain(said);
    expect(text).not.toMatch(/pass@|two words/);
  });
});

test("the registry uses the host's services, and names missing ones", () => {
  expect(() => rewardNamed("judge")).toThrow("this platform cannot ask a judge");
  expect(() => rewardNamed("code")).toThrow("Cannot use the reward code_reward: this platform cannot run Python");
  const { recipe } = parseRecipe({ reward_funcs: ["judge"] }, "grpo");
  const judge = (p: Parameters<typeof judgeOptions>[0]) =>
    openJudge(judgeOptions(p, { key: null, fetch, backoff_ms: 1, cache: null }));
  expect(() => rewardNamed("judge", recipe, { judge })).toThrow("The reward judge needs judge_model");
  expect(rewardNamed("judge", { ...recipe, judge_model: "x" }, { judge }).name).toBe("judge");
});
