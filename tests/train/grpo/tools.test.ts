import { describe, expect, it } from "vitest";
import { TrainingError } from "../../../src/errors.ts";
import type { Generation, GenerationRequest } from "../../../src/model/generate/generate.ts";
import { type Environment, runTools, type ToolOptions } from "../../../src/train/grpo/tools.ts";
import { qwenTokenizer } from "../../data/fixtures.ts";

const tokenizer = qwenTokenizer();
const said = (text: string, finish_reason: "stop" | "length" = "stop"): Generation => {
  const ids = tokenizer.encode(text + (finish_reason === "stop" ? "<|im_end|>" : ""));
  return { ids, logps: Float32Array.from(ids, (_, i) => -i), finish_reason };
};
const calling = (args: object, name = "double") =>
  `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`;
const environment: Environment = {
  schemas: [],
  names: ["double", "slow"],
  call: async (name, { x }) => {
    if (name === "slow") return new Promise(() => {});
    if (typeof x !== "number") throw new Error("x must be a number");
    return { value: 2 * x };
  },
};
const prompt_ids = tokenizer.encode("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");

/** Completions whose later turns are these texts, turn by turn. */
function run(first: readonly Generation[], later: readonly string[][], values: Partial<ToolOptions> = {}) {
  const asked: GenerationRequest[][] = [];
  const options: ToolOptions = {
    environment,
    tokenizer,
    template: tokenizer.chat_template!,
    chat_template_kwargs: {},
    max_completion_length: 200,
    max_tool_calling_iterations: null,
    timeout: 5,
    draw: async (requests) => {
      asked.push([...requests]);
      return requests.map((_, i) => said(later[asked.length - 1][i]));
    },
    ...values,
  };
  const requests = first.map((_, sequence) => ({ prompt_ids, sequence }));
  return runTools(requests, first, options).then((results) => ({ ...results, asked }));
}

describe("calls of functions", () => {
  it("are answered turn by turn; results are not the model's tokens", async () => {
    const first = [said(calling({ x: 3 })), said("no call")];
    const { runs, calls, failures, asked } = await run(first, [[calling({ x: 6 })], ["It is 12."]]);
    expect({ calls, failures }).toEqual({ calls: 2, failures: 0 });
    expect(runs[0].messages.map(({ role, content }) => [role, content])).toEqual([
      ["assistant", ""],
      ["tool", '{"value":6}'],
      ["assistant", ""],
      ["tool", '{"value":12}'],
      ["assistant", "It is 12."],
    ]);
    const { generation, tool_mask } = runs[0];
    const text = tokenizer.decode(generation.ids);
    expect(text).toContain(
      '<tool_response>\n{"value":6}\n</tool_response><|im_end|>\n<|im_start|>assistant\n<tool_call>',
    );
    const own = generation.ids.filter((_, i) => tool_mask[i] === 1);
    expect(tokenizer.decode(own)).toBe(
      `${calling({ x: 3 })}<|im_end|>${calling({ x: 6 })}<|im_end|>It is 12.<|im_end|>`,
    );
    const results = generation.ids.filter((_, i) => tool_mask[i] === 0);
    expect(tokenizer.decode(results).match(/<\/tool_response>/g)).toHaveLength(2);
    // the model went on from all tokens so far, with the same draws and the room that is left
    const [again] = asked[1];
    expect([...again.prompt_ids]).toEqual([...prompt_ids, ...generation.ids.slice(0, -said("It is 12.").ids.length)]);
    expect(again.max_new_tokens).toBe(200 - (again.prompt_ids.length - prompt_ids.length));
    expect(again.sequence).toBe(0);
    expect(generation.logps).toHaveLength(generation.ids.length);
    expect(generation.logps.filter((_, i) => tool_mask[i] === 0).every((value) => value === 0)).toBe(true);
    expect(runs[1].messages).toEqual([{ role: "assistant", content: "no call" }]);
    expect(new Set(runs[1].tool_mask)).toEqual(new Set([1]));
  });

  it("that fail, or name no function, are answered with the error", async () => {
    const first = [said(calling({ x: "three" })), said(calling({}, "triple"))];
    const { runs, failures } = await run(first, [["a", "b"]]);
    expect(failures).toBe(2);
    expect(runs[0].messages[1].content).toBe('{"error":"x must be a number"}');
    expect(runs[1].messages[1].content).toBe('{"error":"Unknown function: triple"}');
  });

  it("stop at max_tool_calling_iterations, and where results do not fit max_completion_length", async () => {
    const once = await run([said(calling({ x: 1 }))], [[calling({ x: 2 })]], { max_tool_calling_iterations: 1 });
    expect(once.calls).toBe(1);
    expect(once.runs[0].messages.at(-1)!.tool_calls).toHaveLength(1);
    const { length } = said(calling({ x: 1 })).ids;
    const short = await run([said(calling({ x: 1 }))], [], { max_completion_length: length + 10 });
    expect(short.runs[0].generation.ids).toHaveLength(length);
    expect(short.runs[0].messages).toHaveLength(1);
  });

  it("that do not end stop the run", async () => {
    await expect(run([said(calling({ x: 1 }, "slow"))], [], { timeout: 0.01 })).rejects.toThrow(TrainingError);
  });
});
