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

const STEPS = 16;

let root: string;

/** A problem of the embedded model's: `7*4=28\n28+64=92\n#### 92` is the answer's form. */
function problemsOf(file: string): { question: string; answer: string; gold: string }[] {
  const lines = readFileSync(join(ROOT, "assets/tiny/problems", file), "utf8")
    .trim()
    .split("\n");
  return lines.map((line) => {
    const { prompt, answer } = JSON.parse(line) as { prompt: { content: string }[]; answer: string };
    return { question: prompt[0].content, answer, gold: answer.replace(/^[\s\S]*#### /, "") };
  });
}

/** One expression for all steps: each result is put in the place of its name, so that 7*4=28, 28+64=92 is (7*4)+64. */
function expressionOf(answer: string): string {
  const steps = [...answer.matchAll(/^([-+*/\d ]+)=(\d+)$/gm)].map(([, left, right]) => ({ left, right }));
  return steps.slice(1).reduce((inner, { left }, i) => {
    return left.replace(new RegExp(`\\b${steps[i].right}\\b`), `(${inner})`);
  }, steps[0].left);
}

const write = (name: string, rows: unknown[]) =>
  writeFileSync(join(root, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "calculator-"));
  cpSync(join(ROOT, "assets/tiny"), join(root, "model"), { recursive: true });
  writeFileSync(join(root, "tools.jinja"), TEMPLATE);
  const { tools } = await import(/* @vite-ignore */ CALCULATOR);
  const rows = problemsOf("train.jsonl");
  expect(rows.length).toBeGreaterThan(1000);
  write("problems.jsonl", rows);
  write("held-out.jsonl", problemsOf("test.jsonl").slice(0, 100));
  // of every problem one trace that calls, and one that says the problem's first number instead
  const traces = rows.flatMap(({ question, answer, gold }) => {
    const call = { type: "function", function: { name: "calculate", arguments: { expression: expressionOf(answer) } } };
    const asked = { role: "user", content: question };
    const called = [
      { role: "assistant", content: "", tool_calls: [call] },
      { role: "tool", name: "calculate", content: gold },
      { role: "assistant", content: gold },
    ];
    const guessed = [{ role: "assistant", content: /\d+/.exec(question)![0] }];
    return [called, guessed].map((turns) => ({ messages: [asked, ...turns], tools }));
  });
  write("traces.jsonl", traces);
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

it("GRPO teaches a model that calls the calculator half of the time to call it: held-out rewards rise", async () => {
  const shared = ["--chat_template_path", join(root, "tools.jinja"), "--logging_steps", "1", "--save_strategy", "no"];
  const first = await run(
    ...["sft", "--model_name_or_path", join(root, "model"), "--dataset_name", join(root, "traces.jsonl")],
    ...["--assistant_only_loss", "true", "--use_peft", "false", "--max_length", "256", "--learning_rate", "2e-3"],
    ...["--per_device_train_batch_size", "24", "--max_steps", "250", "--output_dir", join(root, "sft"), ...shared],
  );
  expect(first.code, first.said.slice(-2000)).toBe(0);
  const second = await run(
    ...["grpo", "--model_name_or_path", join(root, "sft"), "--dataset_name", join(root, "problems.jsonl")],
    ...["--environment", CALCULATOR, "--reward_funcs", `${CALCULATOR}:solved`, "--max_tool_calling_iterations", "2"],
    ...["--max_completion_length", "170", "--per_device_train_batch_size", "32", "--num_generations", "8"],
    ...["--learning_rate", "1e-3", "--lr_scheduler_type", "constant", "--max_steps", String(STEPS)],
    ...["--eval_dataset_name", join(root, "held-out.jsonl"), "--eval_on_start", "true", "--eval_strategy", "steps"],
    ...["--eval_steps", String(STEPS), "--num_generations_eval", "2", "--per_device_eval_batch_size", "50"],
    ...["--output_dir", join(root, "grpo"), ...shared],
  );
  expect(second.code, second.said.slice(-2000)).toBe(0);
  const logs = readFileSync(join(root, "grpo/metrics.jsonl"), "utf8").trim().split("\n");
  const steps = logs.map((line) => JSON.parse(line) as Record<string, number>);
  const [before, after] = steps.filter((log) => "eval_reward" in log);
  const show = (log: Record<string, number>) =>
    `reward ${log.eval_reward.toFixed(2)}, calls a completion ${log["eval_tools/call_frequency"].toFixed(2)}`;
  console.log(`held-out, before: ${show(before)}; after: ${show(after)}`);
  // 200 completions: the deviation of the difference of two means is below 0.06
  expect(after.eval_reward - before.eval_reward).toBeGreaterThan(0.25);
  expect(after["eval_tools/call_frequency"] - before["eval_tools/call_frequency"]).toBeGreaterThan(0.2);
}, 3_600_000);
