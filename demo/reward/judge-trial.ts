import type { Turn } from "../../src/client/types.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import { cut } from "../../src/text/show.ts";
import { formatSeconds } from "../../src/text/times.ts";
import type { App } from "../app.ts";
import { h } from "../dom.ts";
import { type Problem, problemOf } from "../problems.ts";
import { judgeKey } from "./judge-key.ts";
import type { RewardValues } from "./values.ts";

/** What the judge is asked about if there are no rows, or the first row has no answer. */
const EXAMPLE = { prompt: "What is 12 + 5?", completion: "12 + 5 = 17. The answer is 17." };
const REPLY = 600;

/** The recipe's fields about its judge, as the form has them now. */
const FIELDS = [
  "judge_url",
  "judge_model",
  "judge_prompt",
  "judge_score_pattern",
  "judge_score_min",
  "judge_score_max",
  "judge_parameters",
  "judge_timeout",
];

/** Asks the judge about one answer. @returns the reward, and what the judge wrote @throws what a run would throw */
export async function askJudge(app: App, values: RewardValues, url: string): Promise<HTMLElement> {
  const given = FIELDS.map((name) => [name, values.get(name)] as const).filter(([, value]) => value !== undefined);
  const key = judgeKey(url);
  const row = await firstRow(app, values);
  const { reward, reply, seconds, tokens } = await app.trainer.data.tryJudge(Object.fromEntries(given), {
    ...row,
    judge: key === "" ? null : { url, key },
  });
  return h(
    "div",
    { class: "judge-verdict" },
    h("p", {}, "It works: the reward is ", h("b", {}, formatNumber(reward)), " (0 to 1)."),
    h("p", { class: "about" }, `Asked about: ${cut(textOf(row.completion), REPLY)}`),
    h("p", { class: "about" }, `It wrote: ${cut(reply, REPLY)}`),
    h("p", { class: "about" }, `${formatSeconds(seconds)}${tokens > 0 ? `, ${formatNumber(tokens)} tokens` : ""}`),
  );
}

/** The first row of the chosen data with its own answer; without one, an example. */
async function firstRow(app: App, { form }: RewardValues) {
  const { data, recipe } = form;
  const example = { ...EXAMPLE, columns: {} };
  if (!data) return example;
  const found = await app.trainer.data.rewardRows(data, recipe ?? {}, 1);
  if (found.problem !== null || found.prompts.length === 0) return example;
  const columns = Object.fromEntries(Object.entries(found.columns).map(([name, list]) => [name, list[0]]));
  const [own] = found.completions;
  return { prompt: found.prompts[0], completion: textOf(own) === "" ? EXAMPLE.completion : own, columns };
}

const textOf = (turn: Turn) => (typeof turn === "string" ? turn : turn.map(({ content }) => content).join("\n"));

/** Why a trial failed, and what to do. */
export function judgeProblem(error: unknown, url: string): Problem {
  const problem = { ...problemOf(error), title: "The judge gave no score" };
  if (problem.text.includes("connection failed")) {
    const todo = `Check that ${url} is running and reachable, and that it allows requests from ${location.origin} (CORS). Ollama, for example, reads OLLAMA_ORIGINS; vLLM takes --allowed-origins`;
    return { ...problem, todo };
  }
  if (problem.text.includes("no answer within")) {
    return { ...problem, todo: "Check the address, or allow more time in judge_timeout" };
  }
  return { ...problem, todo: null };
}
