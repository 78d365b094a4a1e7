import { expect, it } from "vitest";
import { duplicatesOf } from "../../../src/data/documents/duplicates.ts";
import { splitPairs } from "../../../src/data/documents/rows.ts";

it("finds equal questions and near-duplicates, and keeps pairs that differ in a fact", () => {
  const answer =
    "The boiler of the second house must be checked by an engineer every spring before the heating season ends.";
  const pairs = [
    { question: "When is the boiler checked?", answer },
    { question: "when is THE boiler checked", answer: "In spring." },
    { question: "What happens to the boiler each year?", answer },
    { question: "What happens to the boiler each year, then?", answer },
    { question: "How high is the tower?", answer: "It is 31 metres high." },
    { question: "How wide is the tower?", answer: "It is 9 metres wide." },
  ];
  expect(duplicatesOf(pairs)).toEqual([null, 0, null, 2, null, null]);
});

it("splits by question: the test part does not change sides when pairs are added", () => {
  const pairs = Array.from({ length: 40 }, (_, i) => ({ question: `Question ${i}?`, answer: "a" }));
  const { train, test } = splitPairs(pairs, 0.25);
  expect([train.length, test.length]).toEqual([30, 10]);
  expect(
    splitPairs([...pairs].reverse(), 0.25)
      .test.map(({ question }) => question)
      .sort(),
  ).toEqual(test.map(({ question }) => question).sort());
  expect(splitPairs(pairs, 0).test).toEqual([]);
  expect(splitPairs(pairs, 100).train).toEqual([]);
});
