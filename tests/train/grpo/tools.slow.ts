import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { run } from "../../cli/e2e.ts";

const ROOT = join(import.meta.dirname, "../../..");
const CALCULATOR = join(ROOT, "examples/calculator.mjs");
// Qwen's form in a few words: the embedded model has 256 positions
const TEMPLATE = `{%- if tools %}<|im_start|>system
{%- for tool in tools %} {{ tool.function.name }}{% endfor %}<|im_end|>
{% endif %}{%- for m in messages %}
{%- if m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ m.role }}
{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

let root: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "calculator-"));
  cpSync(join(ROOT, "assets/tiny"), join(root, "model"), { recursive: true });
  writeFileSync(join(root, "tools.jinja"), TEMPLATE);
  const { tools } = await import(/* @vite-ignore */ CALCULATOR);
  const problems = readFileSync(join(ROOT, "assets/tiny/problems/train.jsonl"), "utf8").trim().split("\n");
  const rows = problems.map((line) => {
    const { prompt, answer } = JSON.parse(line) as { prompt: { role: string; content: string }[]; answer: string };
    return { question: prompt[0].content, answer };
  });
  writeFileSync(join(root, "problems.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  // each step's result is put in the place of its name: 7*4=28, 28+64=92 is (7*4)+64
  const traces = rows.flatMap(({ question, answer }) => {
    const steps = [...answer.matchAll(/^([-+*/\d ]+)=(\d+)$/gm)].map(([, left, right]) => ({ left, right }));
    if (steps.length === 0) return [];
    let expression = steps[0].left;
    for (const [i, { left }] of steps.slice(1).entries()) {
      expression = left.replace(new RegExp(`\\b${steps[i].right}\\b`), `(${expression})`);
    }
    const gold = answer.replace(/^[\s\S]*#### /, "");
    const tool_calls = [{ type: "function", function: { name: "calculate", arguments: { expression } } }];
    const messages = [
      { role: "user", content: question },
      { role: "assistant", content: "", tool_calls },
      { role: "tool", name: "calculate", content: gold },
      { role: "assistant", content: gold },
    ];
    return [{ messages, tools }];
  });
  expect(traces.length).toBeGreaterThan(200);
  writeFileSync(join(root, "traces.jsonl"), traces.map((row) => `${JSON.stringify(row)}\n`).join(""));
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

it("after SFT on traces, the embedded model calls the calculator in GRPO and answers with its results", async () => {
  const shared = ["--chat_template_path", join(root, "tools.jinja"), "--logging_steps", "1", "--save_strategy", "no"];
  const first = await run(
    ...["sft", "--model_name_or_path", join(root, "model"), "--dataset_name", join(root, "traces.jsonl")],
    ...["--assistant_only_loss", "true", "--use_peft", "false", "--max_length", "256", "--learning_rate", "2e-3"],
    ...["--per_device_train_batch_size", "16", "--max_steps", "400", "--output_dir", join(root, "sft"), ...shared],
  );
  expect(first.code, first.said.slice(-2000)).toBe(0);
  const second = await run(
    ...["grpo", "--model_name_or_path", join(root, "sft"), "--dataset_name", join(root, "problems.jsonl")],
    ...["--environment", CALCULATOR, "--reward_funcs", `${CALCULATOR}:solved`, "--max_tool_calling_iterations", "2"],
    ...[
      "--max_completion_length",
      "170",
      "--per_device_train_batch_size",
      "32",
      "--temperature",
      "0.8",
      "--num_generations",
      "8",
    ],
    ...["--learning_rate", "3e-4", "--max_steps", "4", "--output_dir", join(root, "grpo"), ...shared],
  );
  expect(second.code, second.said.slice(-2000)).toBe(0);
  const logs = readFileSync(join(root, "grpo/metrics.jsonl"), "utf8").trim().split("\n");
  const steps = logs
    .map((line) => JSON.parse(line) as Record<string, number>)
    .filter(({ reward }) => reward !== undefined);
  const mean = (name: string, of: typeof steps) => of.reduce((sum, log) => sum + log[name], 0) / of.length;
  const [reward, calls, failures] = ["reward", "tools/call_frequency", "tools/failure_frequency"].map((name) =>
    mean(name, steps),
  );
  console.log(`reward ${reward.toFixed(3)}, calls a completion ${calls.toFixed(2)}, failures ${failures.toFixed(2)}`);
  expect(calls).toBeGreaterThan(0.9);
  expect(failures).toBeLessThan(0.1);
  expect(reward).toBeGreaterThan(1); // 1.2 is the most: the answer is right and came from a call
}, 3_600_000); // 400 steps of SFT make whole calls; 130 make a third of them
