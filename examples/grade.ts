// Compares answers mathematically; needs no GPU: npx tsx examples/grade.ts
import { grade, mathsEqual } from "qwench";

for (const [gold, pred] of [
  ["1/2", "0.5"],
  ["2\\sqrt{2}", "\\sqrt{8}"],
  ["(1, 2)", "(2, 1)"],
]) {
  console.log(`${gold} and ${pred}: ${mathsEqual(gold, pred) ? "equal" : "not equal"}`);
}
const { pred, by, equal } = grade("She has 7.\n#### 7", "3+4=7, so the answer is \\boxed{7}.");
console.log(`found ${pred} by ${by}: ${equal ? "right" : "wrong"}`);
