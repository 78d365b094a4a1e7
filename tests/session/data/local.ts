import { type ReplyShape, readPairs } from "../../../src/data/documents/reply.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { localAsker } from "../../../src/session/data/local.ts";
import { loadText, prepareText } from "../../../src/session/generate.ts";

const SHAPES: ReplyShape[] = [
  { kind: "pairs", fields: ["question", "answer"] },
  { kind: "pairs", fields: ["question", "reasoning", "answer"] },
  { kind: "marks", field: "rating", count: 2 },
];

/**
 * Asks the embedded model, which knows nothing of JSON, for replies under the grammar.
 *
 * @returns replies that do not parse, or whose pairs cannot be read
 */
export async function unparsed(gpu: Gpu, count: number, slots: number): Promise<string[]> {
  const sources = { gpu, model: nodeFolder("assets/tiny") };
  const asker = localAsker(await loadText(await prepareText(sources), sources), {
    identity: {},
    seed: 1,
    slots,
    grammar: true,
  });
  const questions = Array.from({ length: count }, (_, i) => ({
    prompt: `Tom has ${i} apples and buys ${i % 7} more. How many?`,
    shape: SHAPES[i % SHAPES.length],
    max_tokens: 64,
    temperature: 0.5 + (i % 3),
    top_p: i % 2 ? 0.95 : 1,
    number: i,
  }));
  const bad: string[] = [];
  let seen = 0;
  for await (const { index, text } of asker.ask(questions, new AbortController().signal)) {
    seen++;
    const { shape } = questions[index];
    try {
      const value = JSON.parse(text);
      const good = shape.kind === "pairs" ? readPairs(text, shape.fields).length > 0 : value.length === 2;
      if (!good) bad.push(text);
    } catch {
      bad.push(text);
    }
  }
  if (seen !== count) bad.push(`${seen} replies`);
  return bad;
}
