import { afterEach, expect, it } from "vitest";
import { tryJudge } from "../../workers/session/judge-trial.ts";
import { judgePlatform } from "../../workers/session/reward-platform.ts";
import { type Answer, fails, type JudgeServer, says, serveJudge } from "../rewards/judge/judge-server.ts";

const servers: JudgeServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

const question = { prompt: "What is 2+3?", completion: "5", columns: { answer: "#### 5" } };
async function ask(answer: Answer, fields: Record<string, unknown> = {}, key: string | null = "sk-secret-1") {
  const server = await serveJudge(answer);
  servers.push(server);
  return tryJudge({ judge_url: server.url, judge_model: "grader", ...fields }, question, judgePlatform(key));
}

it("asks once, as a run would, and tells reward, reply and tokens", async () => {
  const prompt = "Judge {completion} for {prompt} with {answer}.";
  const { reward, reply, tokens, seconds } = await ask(says("Right. Score: 8"), { judge_prompt: prompt });
  expect([reward, reply, tokens > 0, seconds > 0]).toEqual([0.8, "Right. Score: 8", true, true]);
  expect(servers[0].asked.map(({ body }) => body.messages[0].content)).toEqual([
    "Judge 5 for What is 2+3? with #### 5.",
  ]);
});

it("fails at once with the reason, and never with the key", async () => {
  await expect(ask(fails(503))).rejects.toThrow(/Cannot ask the judge at .*\/v1\/chat\/completions: it answers 503/);
  expect(servers[0].asked).toHaveLength(1); // no retries
  const refused = ask(fails(401, "bad key sk-secret-1"));
  await expect(refused).rejects.toThrow(/it rejects the key in the field Key of the judge/);
  await refused.catch(({ message }: Error) => expect(message).not.toContain("sk-secret-1"));
  await expect(ask(says("I like it"))).rejects.toThrow(/None of the judge's replies .* "I like it"/);
  await expect(ask(says("Score: 1"), { judge_model: undefined })).rejects.toThrow(/needs judge_model/);
  await expect(ask(says("Score: 1"), { judge_prompt: "{solution}" })).rejects.toThrow(/has only answer/);
  await expect(ask(says("Score: 1"), { judge_url: "localhost" })).rejects.toThrow(/must be an http or https address/);
});
