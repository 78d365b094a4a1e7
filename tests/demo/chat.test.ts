import { expect, test } from "vitest";
import { ChatHistory } from "../../demo/chat/history.ts";

const answer = (text: string) => ({ text, tokens: 1, seconds: 1, cut: false });

test("each pane is sent its own answers, and only the questions that it answered", () => {
  const history = new ChatHistory(2);
  const first = history.ask("one");
  history.turns[first].answers = [answer("base"), null];
  const second = history.ask("two");
  expect(history.messages(0, second, "Be brief.")).toEqual([
    { role: "system", content: "Be brief." },
    { role: "user", content: "one" },
    { role: "assistant", content: "base" },
    { role: "user", content: "two" },
  ]);
  expect(history.messages(1, second, " ")).toEqual([{ role: "user", content: "two" }]);
  history.turns[second].answers[0] = answer("more");
  history.forget(0);
  expect(history.messages(0, second, "")).toEqual([{ role: "user", content: "two" }]);
  expect(history.takeBack(first)).toEqual({ question: "one", images: [] });
  expect(history.turns).toEqual([]);
});
