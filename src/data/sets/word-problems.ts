import { DataError } from "../../errors.ts";
import { fnvText } from "../../text/hash.ts";
import { splitmix32 } from "../sampler.ts";

/** One step of working, such as 5*7. */
interface Step {
  a: number;
  op: "+" | "-" | "*" | "/";
  b: number;
}

/** An arithmetic word problem as a row of GSM8K: `answer` is the working, one line per step, then `#### N`. */
export interface WordProblem {
  question: string;
  answer: string;
  kind: string;
  /** the numbers in the question */
  numbers: number[];
  steps: Step[];
  result: number;
}

interface WordProblemOptions {
  seed: number;
  count: number;
  split: "train" | "test";
}

/** A whole number from `least` to `most`, both included. */
type Draw = (least: number, most: number) => number;

interface Words {
  name: string;
  other: string;
  things: string;
  holder: string;
}

interface Kind {
  /** null: this draw gives no valid problem */
  numbers(draw: Draw): number[] | null;
  questions: ((n: number[], words: Words) => string)[];
  steps(n: number[]): Step[];
}

const LARGEST = 99;
/** One problem in this many is a test problem. */
const TEST_SHARE = 8;

const NAMES =
  "Ann Ben Carl Dora Emma Finn Gina Hugo Ida Jack Kim Leo Mia Nora Omar Paul Quinn Rosa Sam Tom Uma Vera Will Zoe";
const THINGS =
  "apples balls books buttons cakes candies cards coins cookies cups eggs flowers grapes keys lemons marbles nuts pears pencils pens plums ribbons rings shells stamps stickers stones toys";
const HOLDERS = "bags baskets boxes crates drawers jars rows shelves stacks trays";

const names = NAMES.split(" ");
const things = THINGS.split(" ");
const holders = HOLDERS.split(" ");

/** Two factors and their product: the small multiplication table. */
function product(draw: Draw, most: number): [a: number, b: number, product: number] | null {
  const [a, b] = [draw(2, 9), draw(2, 12)];
  return a * b <= most ? [a, b, a * b] : null;
}

const KINDS: Readonly<Record<string, Kind>> = {
  gain: {
    numbers: (draw) => {
      const a = draw(2, LARGEST - 2);
      return [a, draw(2, LARGEST - a)];
    },
    questions: [
      ([a, b], w) => `${w.name} has ${a} ${w.things} and buys ${b} more. How many ${w.things} does ${w.name} have now?`,
      ([a, b], w) => `There are ${a} ${w.things} on a table. ${w.name} adds ${b}. How many ${w.things} are there now?`,
      ([a, b], w) => `${w.name} finds ${a} ${w.things} and ${w.other} finds ${b}. How many ${w.things} do they find?`,
    ],
    steps: ([a, b]) => [{ a, op: "+", b }],
  },
  loss: {
    numbers: (draw) => {
      const a = draw(4, LARGEST);
      return [a, draw(2, a - 1)];
    },
    questions: [
      ([a, b], w) => `${w.name} has ${a} ${w.things} and gives away ${b}. How many ${w.things} are left?`,
      ([a, b], w) => `There are ${a} ${w.things} in a shop. ${b} are sold. How many ${w.things} are left?`,
      ([a, b], w) => `${w.name} has ${a} ${w.things} and ${w.other} has ${b}. How many more does ${w.name} have?`,
    ],
    steps: ([a, b]) => [{ a, op: "-", b }],
  },
  groups: {
    numbers: (draw) => product(draw, LARGEST)?.slice(0, 2) ?? null,
    questions: [
      ([a, b], w) => `There are ${a} ${w.holder} with ${b} ${w.things} each. How many ${w.things} are there?`,
      ([a, b], w) => `${w.name} buys ${b} ${w.things} a day for ${a} days. How many ${w.things} does ${w.name} buy?`,
    ],
    steps: ([a, b]) => [{ a, op: "*", b }],
  },
  share: {
    numbers: (draw) => {
      const made = product(draw, LARGEST);
      return made && [made[2], made[0]];
    },
    questions: [
      ([a, b], w) => `${w.name} shares ${a} ${w.things} among ${b} friends. How many does each friend get?`,
      ([a, b], w) => `${w.name} puts ${a} ${w.things} into ${b} ${w.holder}. How many ${w.things} are in each?`,
    ],
    steps: ([a, b]) => [{ a, op: "/", b }],
  },
  groups_gain: {
    numbers: (draw) => {
      const made = product(draw, LARGEST - 2);
      return made && [made[0], made[1], draw(2, LARGEST - made[2])];
    },
    questions: [
      ([a, b, c], w) =>
        `${w.name} has ${a} ${w.holder} with ${b} ${w.things} each and buys ${c} more. How many in all?`,
      ([a, b, c], w) => `${w.name} gets ${b} ${w.things} a day for ${a} days and then finds ${c}. How many in all?`,
    ],
    steps: ([a, b, c]) => [
      { a, op: "*", b },
      { a: a * b, op: "+", b: c },
    ],
  },
  groups_loss: {
    numbers: (draw) => {
      const made = product(draw, LARGEST);
      return made && [made[0], made[1], draw(2, made[2] - 1)];
    },
    questions: [
      ([a, b, c], w) => `${w.name} has ${a} ${w.holder} with ${b} ${w.things} each and loses ${c}. How many are left?`,
      ([a, b, c], w) =>
        `A shop has ${a} ${w.holder} of ${b} ${w.things}. ${c} are sold. How many ${w.things} are left?`,
    ],
    steps: ([a, b, c]) => [
      { a, op: "*", b },
      { a: a * b, op: "-", b: c },
    ],
  },
  gain_loss: {
    numbers: (draw) => {
      const a = draw(2, LARGEST - 2);
      const b = draw(2, LARGEST - a);
      return [a, b, draw(2, a + b - 1)];
    },
    questions: [
      ([a, b, c], w) => `${w.name} has ${a} ${w.things}, buys ${b} and gives away ${c}. How many are left?`,
      ([a, b, c]) => `${a} people are on a bus. ${b} get on and ${c} get off. How many people are on the bus now?`,
    ],
    steps: ([a, b, c]) => [
      { a, op: "+", b },
      { a: a + b, op: "-", b: c },
    ],
  },
  share_gain: {
    numbers: (draw) => {
      const made = product(draw, LARGEST);
      return made && [made[2], made[0], draw(2, LARGEST - made[1])];
    },
    questions: [
      ([a, b, c], w) =>
        `${w.name} shares ${a} ${w.things} among ${b} friends. ${w.other} is one and had ${c}. How many does ${w.other} have now?`,
      ([a, b, c], w) => `${a} ${w.things} go into ${b} ${w.holder}. Then ${c} go into each. How many are in each?`,
    ],
    steps: ([a, b, c]) => [
      { a, op: "/", b },
      { a: a / b, op: "+", b: c },
    ],
  },
  loss_share: {
    numbers: (draw) => {
      const made = product(draw, LARGEST - 2);
      if (!made) return null;
      const b = draw(2, LARGEST - made[2]);
      return [made[2] + b, b, made[0]];
    },
    questions: [
      ([a, b, c], w) =>
        `${w.name} has ${a} ${w.things}, keeps ${b} and shares the rest among ${c} friends. How many each?`,
      ([a, b, c], w) => `Of ${a} ${w.things}, ${b} are bad. The rest go into ${c} ${w.holder}. How many are in each?`,
    ],
    steps: ([a, b, c]) => [
      { a, op: "-", b },
      { a: a - b, op: "/", b: c },
    ],
  },
  together: {
    numbers: (draw) => {
      const a = draw(2, 48);
      return [a, draw(2, LARGEST - 2 * a)];
    },
    questions: [
      ([a, b], w) =>
        `${w.name} has ${a} ${w.things}. ${w.other} has ${b} more than ${w.name}. How many do they have together?`,
      ([a, b], w) => `${w.name} sells ${a} ${w.things} on Monday and ${b} more than that on Sunday. How many in all?`,
    ],
    steps: ([a, b]) => [
      { a, op: "+", b },
      { a, op: "+", b: a + b },
    ],
  },
  times: {
    numbers: (draw) => {
      const [k, a] = [draw(2, 7), draw(2, 12)];
      return a * (k + 1) <= LARGEST ? [a, k] : null;
    },
    questions: [
      ([a, k], w) =>
        `${w.name} has ${a} ${w.things}. ${w.other} has ${k} times as many. How many do they have together?`,
    ],
    steps: ([a, k]) => [
      { a: k, op: "*", b: a },
      { a: k * a, op: "+", b: a },
    ],
  },
  change: {
    numbers: (draw) => {
      const made = product(draw, LARGEST - 2);
      return made && [made[0], made[1], draw(made[2] + 1, LARGEST)];
    },
    questions: [
      ([a, b, c], w) =>
        `${w.name} buys ${a} ${w.things} at ${b} dollars each and pays with ${c} dollars. How much is left?`,
      ([a, b, c], w) => `${w.name} has ${c} dollars and buys ${a} ${w.things} at ${b} dollars each. How much is left?`,
    ],
    steps: ([a, b, c]) => [
      { a, op: "*", b },
      { a: c, op: "-", b: a * b },
    ],
  },
};

/** Kinds of problem, of one step or two. */
export const WORD_PROBLEM_KINDS: readonly string[] = Object.keys(KINDS);

/**
 * Arithmetic word problems of one and two steps; every number is below 100.
 *
 * Kind and numbers decide the split, so that no test problem occurs in training under other names.
 *
 * @returns `count` problems that depend only on the arguments; a longer list begins with the problems of a shorter one
 * @throws {DataError} a count or seed that is not a whole number of at least 0
 */
export function wordProblems({ seed, count, split }: WordProblemOptions): WordProblem[] {
  for (const [name, value] of Object.entries({ seed, count })) {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new DataError(`Cannot make word problems: ${name} must be a whole number of at least 0, not ${value}`);
    }
  }
  const draw = drawFrom(seed, split === "test" ? 1 : 0);
  return Array.from({ length: count }, () => wordProblem(draw, split));
}

/** Integers that depend only on (seed, stream). */
export function drawFrom(seed: number, stream: number): Draw {
  const bits = splitmix32(seed, stream);
  return (least, most) => least + Math.floor((bits() / 2 ** 32) * (most - least + 1));
}

function wordProblem(draw: Draw, split: "train" | "test"): WordProblem {
  const pick = <T>(list: readonly T[]): T => list[draw(0, list.length - 1)];
  while (true) {
    const kind = pick(WORD_PROBLEM_KINDS);
    const { numbers, questions, steps } = KINDS[kind];
    const n = numbers(draw);
    if (!n || (contentHash(`${kind} ${n.join(" ")}`) % TEST_SHARE === 0) !== (split === "test")) continue;
    const worked = steps(n);
    const result = outcome(worked.at(-1)!);
    const name = pick(names);
    const other = pick(names.filter((someone) => someone !== name));
    const question = pick(questions)(n, { name, other, things: pick(things), holder: pick(holders) });
    return { question, answer: hashCompletion(working(worked), result), kind, numbers: n, steps: worked, result };
  }
}

/** The result of a step. */
export function outcome({ a, op, b }: Step): number {
  switch (op) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return a / b;
  }
}

/** Steps as text, one per line: `5*7=35`. */
export function working(steps: readonly Step[]): string {
  return steps.map((step) => `${step.a}${step.op}${step.b}=${outcome(step)}`).join("\n");
}

/** Replaces the working in answers without working. */
export const NO_WORKING = "I guess.";

/**
 * A guess without working: equally often a number of the question, or a number within 9 of the answer. Sometimes right.
 */
export function guess({ numbers, result }: WordProblem, draw: Draw): number {
  if (draw(0, 1) === 0) return numbers[draw(0, numbers.length - 1)];
  return Math.min(LARGEST, Math.max(1, result + draw(-9, 9)));
}

/** Reasoning and answer, in GSM8K's form: `#### N` is the last line. */
export function hashCompletion(reasoning: string, answer: number): string {
  return `${reasoning}\n#### ${answer}`;
}

/** Reasoning and answer between tags, each tag on its own line: the format of the GSM8K rewards. */
export function xmlCompletion(reasoning: string, answer: number): string {
  return `<reasoning>\n${reasoning}\n</reasoning>\n<answer>\n${answer}\n</answer>\n`;
}

/** FNV-1a with a final mix, 32 bits. */
function contentHash(text: string): number {
  const hash = fnvText(text);
  const h = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}
