import { NotFoundError } from "../../errors.ts";
import { drawFrom, wordProblems, working } from "./word-problems.ts";

type Row = Record<string, unknown>;

/** Number of sample problems. */
const COUNT = 16;

const problems = () => wordProblems({ seed: 5, count: COUNT, split: "train" });

/** Small programs: the task, and two solutions. */
const PROGRAMS: readonly [string, string, string][] = [
  ["sum", "print(a + b)", "c = a\nc += b\nprint(c)"],
  ["product", "print(a * b)", "c = a\nc *= b\nprint(c)"],
  ["difference", "print(a - b)", "c = a\nc -= b\nprint(c)"],
  ["larger", "print(max(a, b))", "print(a if a > b else b)"],
];

/** Rows with OpenCodeReasoning's columns: each problem occurs several times with different solutions. */
function programs(): Row[] {
  const draw = drawFrom(7, 1);
  return Array.from({ length: COUNT }, (_, i) => {
    const [what, ...ways] = PROGRAMS[i % PROGRAMS.length];
    const k = draw(2, 9);
    return ways.map((way, j) => {
      const solution = `a = int(input())\nb = ${k}\n${way}`;
      return {
        id: `${i}-${j}`,
        input: `Read a number. Print the ${what} of it and ${k}.`,
        output: `<think>\nRead a. Then the ${what}.\n</think>\n\n\`\`\`python\n${solution}\n\`\`\``,
        source: "sample",
        license: "mit",
        dataset: "sample",
        split: "train",
        difficulty: "EASY",
        solution,
      };
    });
  }).flat();
}

/** Rows with the columns of open-rs's data sets. */
const mathematics = (): Row[] =>
  problems().map(({ question, steps, result }) => ({
    problem: question,
    solution: `${working(steps)}\nThe answer is $\\boxed{${result}}$.`,
    answer: String(result),
    level: "Easy",
  }));

const gsm8k = (): Row[] => problems().map(({ question, answer }) => ({ question, answer }));

const limo = (): Row[] =>
  problems().map(({ question, steps, result }) => ({ question, solution: working(steps), answer: String(result) }));

/** Conversations of two turns with Capybara's columns. */
const capybara = (): Row[] =>
  problems().map(({ question, steps, result }) => ({
    source: "sample",
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: working(steps) },
      { role: "user", content: "So what is the answer?" },
      { role: "assistant", content: String(result) },
    ],
    num_turns: 2,
  }));

/** Words as PNG images of 64 × 32 pixels, from scripts/make-ocr.ts. */
const DRAWN: readonly [text: string, png: string][] = [
  [
    "write",
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAgCAIAAAAt/+nTAAADk0lEQVR4nO1WV0+TYRg1ETHgQNQrEY1BJSQaE1GGyJYLhrKJLQJlhVUIW2SDbJQpoOwIsgMYdhhtkSoqSyithBgUlPEvPOXRhitNSONnkyYn5D3nXT3PePkOSHYECg2lAaahNMA0GDBQ05dY2hExPFurkAZEm+O3vNQMWAdbx/NImV7t6ZuuXN6aUAwDi99Hu6dKgIX1YVI4qTfMOcfF2/x/ZGDpxxhvqVkgapEpfFELlA9fXhP9tDECOrncKtnmYwBgy9uVrtaJvJm1fgDKG0k7Vk5JOuoHU5EN91hdiPPrQ3QCjuoUPGnjFQhXuuRvYFLchivNOMeIDn6sNmCpQIkvcyTlcb03aHSRrfBzJwZA3UDKbW91DEYXGpMq3TDwzzDCSuuAU7SAgEKC1UcVLsaeh0kxZB9KqnJHIORpACHE0SZeakS5+dYmXuqg3Hwrys+dwNOGLJXR+YZ2fiFWGnmq2oVpheVZRT21RaE/SLwGMbPOS7Q5VtUTh72gD8sdMUbqYBvUKfJCr7AMfuy52qDNo9nyNCDe4uH3GbEPYSxYbjFiq0YV2VoHnPRNM4CCYOPKgExjjAubgyiKPcLSX3u3eWY+RyG+HMkEfbfaTZFGZkDxLlEy+95X0frsBg5oYoWrnJvY3FcD58JJwjNnXDk0U2MbcsYjXg9T7ISrmEKPYoyoS81kSM0QJhab6BcL0CE7gjZePsaoLnqCsup9dmdV/NINCQ7h53bz4yRnA3ahWjgXJY678YZAcY257MDVhhPo5ASAAlrcxpVtbBhMg2Lhq0Flnd8UCMpKuEKzZNjCT8MjTm8vqnrj5WzALVYXN6VVs/C3g18IxTv5OjoyruQulMahdCizXwdQaaCoZtnG9Go2FJ8UfaKhuRagSCPRoCxT0IgCm9/1BpN/f1v3Y8A7RR83WflrukZfolgG55ihHU19jtiHnaV6QN1LG4ClMvdtULaRk3oTYuqL+0SxHRStQjSjxhPUOUqHTijvjESqZbPyNBCSY06lXNufTEpMsT0pZZ2RpBS3c0HvRZzfs5Fv6a8JsX4ghRTP3RcJNYMEIhD4t2DpdwKKS/RFWEX3A39+gvZpAF8ywdlm4QU2+C4g5XlvPJTQXMuFjRFSyruioOyN3+xaPxRgUiztYGBkrg4tjoKUVRFf9AqxgAHnSB0UGD0G/9enhNyhNMA0lAaYhtIA01AaYBpKA0xDaYBpKLyBn5kgnn00iAF4AAAAAElFTkSuQmCC",
  ],
  [
    "any",
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAgCAIAAAAt/+nTAAACsElEQVR4nGM4++H8kEajHhhoNOqBgUajHhhoNOqBgUajHhhoRMADB54cm7JnRcemBXOOrDv55ixcfP3V3SvObd336OiZ9+fnH1vfsXH+yvPbIFJ7HhwGSsG5UPVXdgEFt90+QFcP1CybzuvsxWbjCkFKoREbr+2BSJmmpQJFCmb3ORbmQWTZbV3TJ3cApRYc3wARWXt5J0Tx8Ven+V29gSJNa2bTzwMbru7msHMD2lo8b+LqizssszKAbKBzIbKWWZlArkxAiFNRXt2KGYbJSUAuUP3OuwfPvj+vGR0L5ObO7IUonrp3BZAL9MOR5yfp54Eddw/2bF3UvGbOiddngNyGVbOAjhD19IfIWmWDPKAcHnnqLShdAX0LCfUpe5YDuRWLpwDZuvEJEMVRHfVAbmB9JdVdTyAJrbm0I21yh29NmUdFsX5iItARAm4+yB4Ia6mBKn5/ntPeHSjSu20xkAvMOXzOXsBEtfnGPqCUfHAYUGr24bV09cCMA6u4HDzYbF2BiSekuRriYjQPxHQ1wtWDFMM8AEQB9RVAbsn8iasvbAcyFELCgdmdrh6A5E67/BwIt3LJVJI8MP8YKCubpKYCMzqQkTWtixaux+cBs/Q0oMX2YA8cenZCMwaUL3mcPM+8I8oDwJSjER0LzNaqEVHstm6gtERnD2RO6wLlS1tX/aQkCZ9AYE7gdQIVqc7F+Vtv7SPsAVhWBiJgIqSR6/F5AFj4JPW3akTFaMXGARMAsBZrXD3LKCXZOidr2+39qZPagWkMWIDC1buUFABFgJUAXGT3g8NA/wM90Lx2zpBsSgCrLaDrRTz9j744NcQ8UL9qZnxPM6T2LZzbTzvX08oDpuACAJh3gYXpqbfnhp4Hdtw5uPzs1p33DtHU6SOjOT340agHBhqNemCg0ZD3AACtSEbctyTXBQAAAABJRU5ErkJggg==",
  ],
];

/** Rows with an image, a question and an answer. */
const drawn = (): Row[] =>
  Array.from({ length: COUNT }, (_, i) => {
    const [answer, png] = DRAWN[i % DRAWN.length];
    return { image: `data:image/png;base64,${png}`, question: "Read the text.", answer };
  });

const SETS: Readonly<Record<string, () => Row[]>> = {
  gsm8k,
  "openai/gsm8k": gsm8k,
  limo,
  "GAIR/LIMO": limo,
  opencodereasoning: programs,
  "nvidia/OpenCodeReasoning": programs,
  "Naholav/CodeGen-Deep-5K": programs,
  "Naholav/CodeGen-Diverse-5K": programs,
  "trl-lib/Capybara": capybara,
  "lbourdois/OCR-liboaccn-OPUS-MIT-5M-clean": drawn,
  "knoveleng/open-rs": mathematics,
  "knoveleng/open-s1": mathematics,
};

/**
 * A few made-up rows with a data set's own columns, for a dry run of a recipe.
 *
 * @throws {NotFoundError} a data set without sample rows; the message lists those with sample rows
 */
export function sampleRows(dataset: string | null): Row[] {
  if (dataset === null || !Object.hasOwn(SETS, dataset)) {
    throw new NotFoundError(
      `Cannot dry-run on ${dataset ?? "no data set"}: there are sample rows for ${Object.keys(SETS).join(", ")}`,
    );
  }
  return SETS[dataset]();
}
