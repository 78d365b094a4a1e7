import { compareEvaluations } from "../../src/eval/compare/compare.ts";
import { readEvaluation } from "../../src/eval/compare/file.ts";
import { renderComparison } from "../../src/report/compare.ts";
import { renderEvaluation } from "../../src/report/evaluation.ts";
import { renderReport } from "../../src/report/training.ts";
import { evaluationText } from "../../tests/eval/compare/fixtures.ts";

/** Ways out of the text, attribute, comment or element that a string was put into. */
const BREAKOUTS = [
  "",
  '">',
  "'>",
  "</textarea></title></pre></option></select></style></script>",
  "-->",
  "]]>",
] as const;

/** Strings that run `pwned()` if interpreted as HTML. */
const VECTORS = [
  "<script>pwned()</script>",
  "<img src=x onerror=pwned()>",
  "<svg onload=pwned()>",
  "<svg><animate onbegin=pwned() attributeName=x dur=1s>",
  "<iframe srcdoc='<script>parent.pwned()</script>'></iframe>",
  "<iframe src='javascript:parent.pwned()'></iframe>",
  "<details open ontoggle=pwned()>x</details>",
  "<input autofocus onfocus=pwned()>",
  "<video><source onerror=pwned()></video>",
  "<audio src=x onerror=pwned()></audio>",
  "<object data='javascript:pwned()'></object>",
  "<body onload=pwned()>",
  "<a href='javascript:pwned()' id=link>click</a>",
  "<form action='javascript:pwned()'><button>go</button></form>",
  "<marquee onstart=pwned()>x</marquee>",
  "<style>@keyframes k{}</style><b style='animation-name:k' onanimationstart=pwned()>x</b>",
] as const;

/** Payloads that need no prefix. */
const OTHERS = [
  '" onmouseover="pwned()" x="',
  "' onmouseover='pwned()' x='",
  '" autofocus onfocus="pwned()" tabindex="0',
  "javascript:pwned()",
  "JaVaScRiPt:pwned()//",
  "data:text/html,<script>parent.pwned()</script>",
  "$" + "{pwned()}",
  "{{constructor.constructor('pwned()')()}}",
  "<%= pwned() %>",
  "\\u003cimg src=x onerror=pwned()\\u003e",
  "&lt;img src=x onerror=pwned()&gt;",
  "&#60;img src=x onerror=pwned()&#62;",
  "<scr<script>ipt>pwned()</scr</script>ipt>",
  "<noscript><p title='</noscript><img src=x onerror=pwned()>'>",
  "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=pwned()&gt;'>",
  "<svg></p><style><a id='</style><img src=1 onerror=pwned()>'>",
  "<template><img src=x onerror=pwned()></template><img src=x onerror=pwned()>",
  "</p><img/src='x'/onerror=pwned()>",
  "<img src=x\nonerror\n=\npwned()>",
  "<IMG SRC=x OnErRoR=pwned()>",
  "';pwned();//",
  '";pwned();//',
  "`;pwned();//",
  "</script><script>pwned()</script>",
] as const;

/** Strings that must never run. */
export const PAYLOADS: readonly string[] = [
  ...BREAKOUTS.flatMap((out) => VECTORS.map((vector) => `${out}${vector}`)),
  ...OTHERS,
];

/** Replaces every text in a value, and every name of a dictionary that `names` takes. */
export function poison<T>(value: T, payload: string, keep: RegExp, key = ""): T {
  if (typeof value === "string") return (keep.test(key) ? value : payload) as T;
  if (Array.isArray(value)) return value.map((one) => poison(one, payload, keep, key)) as T;
  if (typeof value !== "object" || value === null) return value;
  const rename = /^(source_stats|source_accuracies|difficulty_accuracies|environment|summary|memory|rewards)$/.test(
    key,
  );
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [rename ? `${payload}${name}` : name, poison(one, payload, keep, name)]),
  ) as T;
}

export const completion = (correct: number) => ({
  step: 1,
  prompt: "p",
  completion: "c",
  rewards: { r: correct },
  advantage: correct,
  finish_reason: "stop",
  length: 3,
});

/** The three kinds of pages that are written as files, with the payload in every text. */
export function reportsOf(payload: string): Record<string, string> {
  const file = (name: string) =>
    readEvaluation(
      evaluationText(name, [[1, 8], [0, 8], "error"], {
        dataset: payload,
        model: payload,
        adapter: payload,
        texts: [payload, payload, payload],
        sources: [payload, `${payload}2`, payload],
        ids: [payload, payload, payload],
        results: { difficulty_accuracies: { [payload]: 1, [`${payload}2`]: 2 } },
      }),
      `${payload}.json`,
    );
  const { results, records } = JSON.parse(
    evaluationText(
      payload,
      [
        [1, 8],
        [0, 8],
      ],
      { texts: [payload, payload] },
    ),
  );
  const whole = {
    ...results,
    accuracy: 50,
    correct_answers: 1,
    total_problems: 2,
    pass_at_k: 50,
    majority_accuracy: 50,
    source_stats: { a: { total: 2, correct: 1 } },
    source_accuracies: { a: 50 },
    difficulty_accuracies: { a: 50 },
    outcomes: { a: 1 },
  };
  const filled = Object.values(records).map((record) => ({ ...(record as object), difficulty: "a" }));
  return {
    training: renderReport(
      poison(
        {
          title: "t",
          subtitle: "s",
          recipe: "r",
          logs: [
            { step: 1, loss: 1, [`rewards/${payload}/mean`]: 1, [payload]: 3 },
            { step: 2, loss: 2, [`rewards/${payload}/mean`]: 2, [payload]: 3 },
          ],
          environment: { adapter: "a" },
          memory: { weights: "1" },
          summary: { text: "x" },
          completions: [{ step: 1, file: "f", completions: [completion(1), completion(0)] }],
        },
        payload,
        /^$/,
      ) as never,
    ),
    evaluation: renderEvaluation(poison(whole, payload, /^$/) as never, poison(filled, payload, /^$/) as never),
    comparison: renderComparison(compareEvaluations([file("base"), file(payload)], { resamples: 20 })),
  };
}
