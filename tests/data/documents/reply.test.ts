import { describe, expect, it } from "vitest";
import { jsonValues, readMarks, readPairs, readText } from "../../../src/data/documents/reply.ts";

const FIELDS = ["question", "answer"] as const;
const A = { question: "What is a?", answer: "The first letter." };
const B = { question: "What is b?", answer: "The second letter." };
const good = JSON.stringify([A, B]);

describe("pairs of a model's reply", () => {
  it.each<[string, string, object[]]>([
    ["plain JSON", good, [A, B]],
    ["in prose", `Sure! Here are [2] pairs for {you}:\n${good}\nI hope this helps.`, [A, B]],
    ["in a fence", `\`\`\`json\n${good}\n\`\`\``, [A, B]],
    ["after thinking", `<think>[{"question": "x", "answer": "y"}]</think>${good}`, [A, B]],
    ["under a key", JSON.stringify({ qa_pairs: [A, B] }), [A, B]],
    ["cut off inside a text", `[${JSON.stringify(A)}, {"question": "What is b?", "answer": "The sec`, [A]],
    ["cut off after a key", `[${JSON.stringify(A)}, {"question": "What is b?", "answer"`, [A]],
    ["without the last bracket", `[${JSON.stringify(A)}, ${JSON.stringify(B)}`, [A, B]],
    ["without a brace", `[{"question": "What is a?", "answer": "The first letter."]`, [A]],
    ["trailing commas", `[{"question": "What is a?", "answer": "The first letter.",},]`, [A]],
    [
      "missing commas",
      `[{"question": "What is a?" "answer": "The first letter."} {"question": "What is b?", "answer": "The second letter."}]`,
      [A, B],
    ],
    ["single quotes", `[{'question': 'What is a?', 'answer': 'The first letter.'}]`, [A]],
    [
      "an apostrophe in single quotes",
      `[{'question': 'What's a?', 'answer': 'It's one.'}]`,
      [{ question: "What's a?", answer: "It's one." }],
    ],
    ["typographic quotes", `[{“question”: “What is a?”, “answer”: “The first letter.”}]`, [A]],
    ["unquoted keys", `[{question: "What is a?", answer: "The first letter."}]`, [A]],
    [
      "repeated keys: the last counts",
      `[{"question": "x?", "question": "What is a?", "answer": "The first letter."}]`,
      [A],
    ],
    ["several arrays", `${JSON.stringify([A])}\nand\n${JSON.stringify([B])}`, [A, B]],
    ["the same pair twice", `${good}${good}`, [A, B]],
    [
      "quotes inside a text",
      `[{"question": "What is "a"?", "answer": "The first letter."}]`,
      [{ question: 'What is "a"?', answer: A.answer }],
    ],
    [
      "a raw newline in a text",
      `[{"question": "What is\na?", "answer": "The first letter."}]`,
      [{ question: "What is\na?", answer: A.answer }],
    ],
    ["comments", `[/* one */ {"question": "What is a?", // here\n "answer": "The first letter."}]`, [A]],
    ["other names", `[{"Q": "What is a?", "A": "The first letter."}]`, [A]],
    [
      "escapes",
      `[{"question": "What is \\u0061?", "answer": "The first\\nletter."}]`,
      [{ question: "What is a?", answer: "The first\nletter." }],
    ],
    ["a number as answer", `[{"question": "How many?", "answer": 4}]`, [{ question: "How many?", answer: "4" }]],
    ["an empty answer is no pair", `[{"question": "What is a?", "answer": ""}]`, []],
    ["prose only", "I cannot do that, [1] sorry {really}.", []],
    ["nothing", "", []],
  ])("%s", (_, reply, pairs) => {
    expect(readPairs(reply, FIELDS)).toEqual(pairs);
  });

  it("reads reasoning where it is wanted, and needs it", () => {
    const reply = JSON.stringify([{ ...A, reasoning: "It comes first." }, B]);
    expect(readPairs(reply, ["question", "reasoning", "answer"])).toEqual([{ ...A, reasoning: "It comes first." }]);
  });

  it("hostile replies end quickly and give nothing", () => {
    for (const reply of ["[".repeat(100_000), '{"a":'.repeat(50_000), '["'.repeat(50_000), "{{{{".repeat(50_000)]) {
      expect(readPairs(reply, FIELDS)).toEqual([]);
    }
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect(jsonValues('[{"__proto__": {"polluted": true}}]')).toHaveLength(1);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});

describe("marks", () => {
  it.each<[string, string, (number | null)[]]>([
    ["by id, in any order", '[{"id": 2, "rating": 8}, {"id": 1, "rating": 3}]', [3, 8]],
    ["without ids, in order", '[{"question": "x", "rating": 7}, {"rating": "9/10"}]', [7, 9]],
    ["out of range is no rating", '[{"id": 1, "rating": 11}, {"id": 2, "rating": 0}]', [null, null]],
    ["bare numbers", "Ratings: [7, 8.5]", [7, 8.5]],
    ["one only", '[{"id": 2, "rating": 8}]', [null, 8]],
    ["too many", '[{"id": 1, "rating": 8}, {"id": 2, "rating": 8}, {"id": 3, "rating": 1}]', [8, 8]],
    ["none", "They are all good.", [null, null]],
  ])("%s", (_, reply, marks) => {
    expect(readMarks(reply, "rating", 2)).toEqual(marks);
  });

  it("support", () => {
    expect(readMarks('[{"id": 1, "supported": True}, {"id": 2, "supported": "no"}]', "supported", 2)).toEqual([
      true,
      false,
    ]);
  });
});

it("a text reply loses thinking, a fence and its announcement", () => {
  expect(readText("<think>hm</think>\nHere is the summary:\nIt is short.")).toBe("It is short.");
  expect(readText("```text\nIt is short.\n```")).toBe("It is short.");
  expect(readText("<think>and so on")).toBeNull();
});
