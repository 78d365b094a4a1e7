/** One change to a template: a text that must occur exactly once, and its replacement for training. */
type Edit = readonly [from: string, to: string];

interface Family {
  /** the published template for these edits */
  readonly name: string;
  readonly edits: readonly Edit[];
}

const OPEN = "        {%- generation %}\n";
/** The end of an assistant's turn, in all of Qwen's templates. */
const END = `        {{- '<|im_end|>\\n' }}\n`;
const TOOL = `    {%- elif message.role == "tool" %}\n`;
const close: Edit = [END + TOOL, `${END}        {%- endgeneration %}\n${TOOL}`];
const HEADER = "        {{- '<|im_start|>' + message.role + '\\n' }}\n";

/** In training, Qwen3.5 and later think in every turn, whatever the condition of the published template. */
function thinking(condition: string): readonly Edit[] {
  const told =
    "{{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content + '\\n</think>\\n\\n' + content }}";
  const silent = "{{- '<|im_start|>' + message.role + '\\n' + content }}";
  return [
    [
      `        {%- if ${condition} %}\n            ${told}\n        {%- else %}\n            ${silent}\n        {%- endif %}\n`,
      `${HEADER}${OPEN}        {{- '<think>\\n' + reasoning_content + '\\n</think>\\n\\n' + content }}\n`,
    ],
    close,
  ];
}

const LAST = "loop.index0 > ns.last_query_index";

/**
 * The changes of TRL 1.13's training templates: `{% generation %}` around the assistant's text, and the thinking of
 * every turn, which the published templates keep only in the last.
 *
 * @see https://github.com/huggingface/trl/tree/v1.13.0/trl/chat_templates
 */
const FAMILIES: readonly Family[] = [
  {
    name: "Qwen2.5",
    edits: [
      [` or (message.role == "assistant" and not message.tool_calls) %}`, " %}"],
      [
        "        {{- '<|im_start|>' + message.role }}\n        {%- if message.content %}\n",
        `        {{- '<|im_start|>assistant' }}\n${OPEN}        {%- if message.content or not message.tool_calls %}\n`,
      ],
      ["{%- for tool_call in message.tool_calls %}", "{%- for tool_call in message.tool_calls or [] %}"],
      close,
    ],
  },
  {
    name: "Qwen3",
    edits: [
      [
        `        {%- if ${LAST} %}\n            {%- if loop.last or (not loop.last and reasoning_content) %}\n` +
          "                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}\n" +
          "            {%- else %}\n                {{- '<|im_start|>' + message.role + '\\n' + content }}\n            {%- endif %}\n" +
          "        {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' + content }}\n        {%- endif %}\n",
        `${HEADER}${OPEN}        {{- '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}\n`,
      ],
      close,
    ],
  },
  {
    name: "Qwen3-2507",
    edits: [
      [
        `    {%- elif message.role == "assistant" %}\n        {{- '<|im_start|>' + message.role + '\\n' + content }}\n`,
        `    {%- elif message.role == "assistant" %}\n${HEADER}${OPEN}        {{- content }}\n`,
      ],
      close,
    ],
  },
  { name: "Qwen3.5", edits: thinking(LAST) },
  {
    name: "Qwen3.6",
    edits: thinking(`(preserve_thinking is defined and preserve_thinking is true) or (${LAST})`),
  },
  { name: "Qwen3.8", edits: thinking(`preserve_thinking is undefined or preserve_thinking is true or ${LAST}`) },
  {
    name: "DeepSeek-R1-Distill",
    edits: [
      [
        "message['content'] is none %}{%- set ns.is_tool = false -%}{%- for tool in",
        "message['content'] is none %}{%- set ns.is_tool = false -%}{%- generation %}{%- for tool in",
      ],
      [
        "{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor %}{%- endif %}",
        "{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor %}{%- endgeneration %}{%- endif %}",
      ],
      [
        "{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}{%- else %}",
        "{%- if ns.is_tool %}{%- generation %}{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}{%- endgeneration %}{%- else %}",
      ],
      [
        "{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}",
        "{%- generation %}{{'<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- endgeneration %}",
      ],
    ],
  },
];

/** `{% generation %}`, with which a template marks the assistant's text. */
export const generationTag = /\{%-?\s*generation\s*-?%\}/;

/**
 * TRL's training template for `assistant_only_loss`. For the templates of Qwen2.5, Qwen3, Qwen3-2507, Qwen3.5 and its
 * successors, and DeepSeek-R1-Distill, it marks the assistant's tokens and keeps the thinking of all turns. Other
 * templates, and templates with their own marks, do not change.
 */
export function trainingTemplate(template: string): string {
  const lines = template.replace(/\r\n?/g, "\n");
  if (generationTag.test(lines)) return template;
  const family = FAMILIES.find(({ edits }) => edits.every(([from]) => lines.split(from).length === 2));
  if (!family) return template;
  return family.edits.reduce((text, [from, to]) => text.replace(from, () => to), lines);
}
