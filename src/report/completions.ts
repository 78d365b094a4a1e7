import { escapeHtml } from "../text/html.ts";
import { formatNumber, formatSigned } from "../text/numbers.ts";
import { rewardName } from "./names.ts";
import { byPrompt, type Completion, type CompletionBatch, question } from "./text.ts";

/** Most completions to show per batch, and per prompt. */
const MOST = 16;
const MOST_OF_PROMPT = 8;
/** Longer texts are collapsed to their beginning. */
const OPEN_CHARACTERS = 400;
const OPEN_LINES = 9;

/** The report's section of completions with rewards and advantages. Every text is escaped. */
export function renderCompletions(batches: readonly CompletionBatch[], alone: boolean): string {
  if (batches.length === 0) return "";
  const which = [
    "",
    "The only generation batch",
    "The first and the last generation batch",
    "The first, the middle and the last generation batch",
  ];
  return (
    `<section class="completions"><h2>Completions</h2>` +
    `<p>${alone ? "The newest completions." : `${which[batches.length]}; the folder completions beside this file holds all batches.`}</p>` +
    `${batches.map(batchHtml).join("")}</section>`
  );
}

function batchHtml({ step, completions }: CompletionBatch): string {
  const shown: Completion[][] = [];
  let count = 0;
  for (const group of byPrompt(completions)) {
    const few = group.slice(0, MOST_OF_PROMPT);
    if (count + few.length > MOST) break;
    shown.push(few);
    count += few.length;
  }
  const of = count < completions.length ? `${count} of ${completions.length} completions` : `${count} completions`;
  return `<h3>Step ${step} <small>${of}</small></h3>${shown.map(groupHtml).join("")}`;
}

function groupHtml(group: readonly Completion[]): string {
  const names = Object.keys(group[0].rewards);
  const heads = [
    `<th scope="col">completion</th>`,
    ...names.map((name) => `<th scope="col" title="${escapeHtml(name)}">${escapeHtml(rewardName(name))}</th>`),
    `<th scope="col">advantage</th><th scope="col">tokens</th>`,
  ];
  const rows = group.map(({ completion, rewards, advantage, finish_reason, length }) => {
    const sign = advantage > 0 ? "up" : advantage < 0 ? "down" : "";
    return (
      `<tr><td>${folded(completion)}</td>` +
      names.map((name) => `<td>${formatNumber(rewards[name])}</td>`).join("") +
      `<td class="${sign}">${formatSigned(advantage, 2)}</td>` +
      `<td>${formatNumber(length)}${finish_reason === "length" ? `<small>cut off</small>` : ""}</td></tr>`
    );
  });
  const { prompt } = group[0];
  return (
    `<article><details class="prompt"><summary>${escapeHtml(beginning(question(prompt)))}</summary>` +
    `<pre>${escapeHtml(prompt)}</pre></details>` +
    `<div class="scroll"><table><thead><tr>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table></div></article>`
  );
}

/** A short text, or the beginning of a long text that expands to the whole. */
function folded(text: string): string {
  const whole = `<div class="text">${escapeHtml(text) || `<em>empty</em>`}</div>`;
  if (text.length <= OPEN_CHARACTERS && text.split("\n").length <= OPEN_LINES) return whole;
  return `<details><summary class="text">${escapeHtml(beginning(text))}</summary>${whole}</details>`;
}

function beginning(text: string): string {
  const lines = text.split("\n").slice(0, OPEN_LINES).join("\n");
  const characters = [...lines.slice(0, 2 * OPEN_CHARACTERS)].slice(0, OPEN_CHARACTERS).join("");
  return characters.length < text.length ? `${characters.trimEnd()}…` : text;
}
