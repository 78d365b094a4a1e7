import type { EvalRecord, EvalResults } from "../eval/results.ts";
import { groups, passAt } from "../eval/summary.ts";
import { escapeHtml } from "../text/html.ts";
import { formatNumber, formatPercent } from "../text/numbers.ts";
import type { Chart } from "./chart.ts";
import { chartFigure, headline, renderPage } from "./page.ts";

/** Characters of a response to show: of its beginning, and of its end, which holds the answer. */
const BEGINNING = 1000;
const END = 3000;
/** Most responses to show per problem. */
const MOST_RESPONSES = 8;
/** Most characters of problems and responses in one report. Problems beyond the limit keep only their line in the list. */
const MOST_CHARACTERS = 16_000_000;

const STYLE = `
.share{display:inline-block;width:64px;height:8px;margin-left:10px;border-radius:4px;background:var(--rule);overflow:hidden;vertical-align:middle}
.share i{display:block;height:100%;background:var(--s2)}
.tables td:first-child,.tables thead th:first-child{text-align:left}
.tables thead th{text-align:right;padding:5px 0 5px 16px}
.tables td{padding-left:16px;white-space:nowrap}
.filter{display:flex;flex-wrap:wrap;gap:4px 20px;margin:8px 0 16px;color:var(--soft)}
.filter label{cursor:pointer}
.problem>summary{display:flex;gap:16px;align-items:baseline;padding:9px 16px}
.problem>summary::before{content:"▸";color:var(--soft)}
.problem[open]>summary::before{content:"▾"}
.problem .asked{flex:1;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.problem .count{white-space:nowrap;font-variant-numeric:tabular-nums;color:var(--soft)}
.problem article{margin:0;border:0;border-radius:0;background:none}
.problem{background:var(--card);border:1px solid var(--rule);border-top-width:0}
.problems>.problem:first-child{border-top-width:1px}
.problem pre{margin:0 16px 12px;background:var(--paper);max-height:420px;white-space:pre-wrap;overflow-wrap:anywhere}
.problem p{margin:0 16px 12px;color:var(--soft)}
.problem p b{color:var(--ink);font-weight:500}
.answers{display:grid;gap:8px;margin:0 16px 16px}
.answer>summary{padding:2px 0}
.answer>pre{margin:6px 0 4px}
.right,.problem p .right{color:var(--s2)}.wrong,.problem p .wrong{color:var(--s1)}
main:has(#solved:checked) .problem:not(.all),main:has(#some:checked) .problem:not(.part),main:has(#unsolved:checked) .problem:not(.none){display:none}
`;

/**
 * An evaluation as one self-contained HTML file: numbers, pass@k, tables by source and difficulty, and every problem with
 * responses, answers and grades. Every text is escaped; long texts are cut in the middle.
 */
export function renderEvaluation(results: EvalResults, records: readonly EvalRecord[]): string {
  const { dataset, model_type, n_sampling: n, temperature, top_p, max_tokens, adapter_name_or_path: adapter } = results;
  const draws = temperature === 0 ? "greedy decoding" : `temperature ${temperature}, top_p ${top_p}`;
  const model = results.model_name_or_path + (adapter === null ? "" : ` with ${adapter}`);
  const charts = n > 1 ? [passChart(records, n), countChart(records, n)] : [];
  const body = [
    headline(firstLooks(results)),
    charts.length > 0 ? `<section class="charts">${charts.map(chartFigure).join("")}</section>` : "",
    `<div class="tables">`,
    groupTable(
      "By source",
      groups(records, ({ source_dataset }) => source_dataset),
      n,
      2,
    ),
    groupTable(
      "By difficulty",
      groups(records, ({ difficulty }) => difficulty),
      n,
      1,
    ),
    pairs(
      "Programs",
      Object.entries(results.outcomes ?? {}).map(([name, count]) => [name.replaceAll("_", " "), count]),
    ),
    pairs("Tokens", [
      ["per prompt", results.avg_input_tokens],
      ["in the longest prompt", results.max_input_tokens],
      ["per response", results.avg_completion_tokens],
      ["per problem", results.avg_output_tokens],
      ["most per problem", results.max_output_tokens],
    ]),
    pairs("Settings", [
      ["n", n],
      ["temperature", temperature],
      ["top_p", top_p],
      ["top_k", results.top_k],
      ["max_tokens", max_tokens],
      ["seed", results.seed],
      ["model", results.model_name_or_path],
      ["adapter", adapter ?? "none"],
      ["qwench", results.qwench_version],
    ]),
    `</div>`,
    problemList(records),
  ].join("\n");
  return renderPage({
    title: `${dataset}: ${model_type}`,
    subtitle: `${results.total_problems} problems, ${n === 1 ? "one response" : `${n} responses`} each, ${draws}, at most ${max_tokens} tokens. Model: ${model}`,
    body,
    footer: "Written by Qwench. The JSON file beside this report holds all responses in full.",
    style: STYLE,
  });
}

function firstLooks(results: EvalResults): [label: string, text: string][] {
  const { pass_at, n_sampling: n, accuracy, majority_accuracy } = results;
  const looks = Object.entries(pass_at).map(([k, share]): [string, string] => [`pass@${k}`, formatPercent(share)]);
  if (n > 1 && !(n in pass_at)) looks.push(["any correct", formatPercent(accuracy)]);
  if (n > 1 && majority_accuracy !== null) looks.push(["majority", formatPercent(majority_accuracy)]);
  looks.push(
    ["tokens per response", formatNumber(results.avg_completion_tokens)],
    ["ended before the limit", formatPercent(results.ended)],
  );
  return looks;
}

function passChart(records: readonly EvalRecord[], n: number): Chart {
  const ks = Array.from({ length: n }, (_, i) => i + 1);
  const points = ks.map((k) => [k, Number(passAt(records, k).toFixed(2))] as const);
  return { title: "pass@k, percent", xLabel: "k", series: [{ name: "pass@k", label: "pass@k", points }] };
}

function countChart(records: readonly EvalRecord[], n: number): Chart {
  const counts = new Array(n + 1).fill(0);
  for (const { n_correct } of records) counts[n_correct]++;
  const points = counts.map((count, right) => [right, count] as const);
  const series = [{ name: "problems", label: "problems", points }];
  return { title: "Problems by correct responses", xLabel: "correct", series };
}

/** @param least fewest groups for which a table is made */
function groupTable(heading: string, found: Map<string, EvalRecord[]>, n: number, least: number): string {
  if (found.size < least) return "";
  const rows = [...found].map(([name, own]) => {
    const any = (100 * own.filter(({ is_correct }) => is_correct).length) / own.length;
    const shares =
      n > 1
        ? `<td>${formatPercent(passAt(own, 1))}</td><td>${formatPercent(any)}</td>`
        : `<td>${formatPercent(any)}</td>`;
    return `<tr><th scope="row">${escapeHtml(name)}</th><td>${own.length}</td>${shares}</tr>`;
  });
  const names = n > 1 ? ["problems", "pass@1", "any correct"] : ["problems", "correct"];
  const heads = names.map((name) => `<th scope="col">${name}</th>`).join("");
  return `<section><h2>${heading}</h2><table><thead><tr><th></th>${heads}</tr></thead><tbody>${rows.join("")}</tbody></table></section>`;
}

function pairs(heading: string, entries: readonly (readonly [name: string, value: unknown])[]): string {
  if (entries.length === 0) return "";
  const rows = entries.map(
    ([name, value]) => `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(formatNumber(value))}</td></tr>`,
  );
  return `<section><h2>${heading}</h2><table>${rows.join("")}</table></section>`;
}

function problemList(records: readonly EvalRecord[]): string {
  let left = MOST_CHARACTERS;
  const shown = records.map((record) => {
    const html = left > 0 ? problemHtml(record) : line(record);
    left -= html.length;
    return html;
  });
  const none = records.filter(({ n_correct }) => n_correct === 0).length;
  const all = records.filter(({ n_correct, n_total }) => n_correct === n_total).length;
  const choices: [id: string, text: string, count: number][] = [
    ["every", "all", records.length],
    ["solved", "always right", all],
    ["some", "sometimes", records.length - all - none],
    ["unsolved", "never", none],
  ];
  const filter = choices.map(
    ([id, text, count]) =>
      `<label><input type="radio" name="filter" id="${id}"${id === "every" ? " checked" : ""}> ${text} <small>${count}</small></label>`,
  );
  const cut =
    left > 0
      ? ""
      : `<p class="empty">The last problems appear only in the list; the JSON file has their responses.</p>`;
  return (
    `<section class="completions"><h2>Problems</h2><div class="filter">${filter.join("")}</div>${cut}` +
    `<div class="problems">${shown.join("\n")}</div></section>`
  );
}

function summaryOf({ problem, n_correct, n_total }: EvalRecord): string {
  const share = (100 * n_correct) / n_total;
  return (
    `<summary><span class="asked">${escapeHtml(problem.slice(0, 300))}</span>` +
    `<span class="count">${n_correct} of ${n_total}<span class="share"><i style="width:${share.toFixed(1)}%"></i></span></span></summary>`
  );
}

function kindOf({ n_correct, n_total }: EvalRecord): string {
  return n_correct === 0 ? "none" : n_correct === n_total ? "all" : "part";
}

/** A problem's line without its texts. */
function line(record: EvalRecord): string {
  return `<details class="problem ${kindOf(record)}">${summaryOf(record)}</details>`;
}

function problemHtml(record: EvalRecord): string {
  const { ground_truth, majority_answer, majority_correct, difficulty, responses, n_tests } = record;
  const facts = [
    `${escapeHtml(record.source_dataset)} ${escapeHtml(record.original_id)}`,
    ...(difficulty === undefined ? [] : [`difficulty <b>${escapeHtml(difficulty)}</b>`]),
    ...(ground_truth === null ? [`<b>${n_tests}</b> tests`] : [`answer <b>${escapeHtml(ground_truth)}</b>`]),
    ...(majority_answer === null || record.n_total < 2
      ? []
      : [`majority <b class="${majority_correct ? "right" : "wrong"}">${escapeHtml(cut(majority_answer, 60, 0))}</b>`]),
  ];
  const shown = responses.slice(0, MOST_RESPONSES).map((_, i) => answerHtml(record, i));
  return (
    `<details class="problem ${kindOf(record)}">${summaryOf(record)}<p>${facts.join(" · ")}</p>` +
    `<pre>${escapeHtml(cut(record.problem, BEGINNING, END))}</pre><div class="answers">${shown.join("")}</div>` +
    `${shown.length < responses.length ? `<p>${shown.length} of ${responses.length} responses are shown; the JSON file has all of them.</p>` : ""}</details>`
  );
}

function answerHtml(record: EvalRecord, i: number): string {
  const { responses, extracted_answers, correct_responses, completion_tokens, finish_reasons, outcomes } = record;
  const right = correct_responses[i];
  const answer = extracted_answers[i];
  const outcome = outcomes
    ? `${outcomes[i].replaceAll("_", " ")}, ${record.passed_tests?.[i]} of ${record.n_tests} tests`
    : answer === null
      ? "no answer"
      : cut(answer.replace(/\s+/g, " "), 100, 0);
  const length = `${formatNumber(completion_tokens[i])} tokens${finish_reasons[i] === "length" ? ", cut off" : ""}`;
  return (
    `<details class="answer"><summary><span class="${right ? "right" : "wrong"}">${right ? "✓" : "✗"}</span> ` +
    `${escapeHtml(outcome)} <small>${length}</small></summary>` +
    `<pre>${escapeHtml(cut(responses[i], BEGINNING, END)) || "<em>empty</em>"}</pre></details>`
  );
}

/** A text, or the beginning and end of a long text with the number of omitted characters between. */
function cut(text: string, beginning: number, end: number): string {
  if (text.length <= beginning + end) return text;
  // do not split a surrogate pair
  const head = text.slice(0, beginning).replace(/[\ud800-\udbff]$/, "");
  const tail = end === 0 ? "" : text.slice(-end).replace(/^[\udc00-\udfff]/, "");
  const left = text.length - head.length - tail.length;
  return tail === "" ? `${head}…` : `${head}\n… ${formatNumber(left)} characters omitted …\n${tail}`;
}
