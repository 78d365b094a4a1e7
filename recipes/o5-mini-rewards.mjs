// The format rewards of the recipe o5-mini-grpo, with the marks and scores of its source:
// https://github.com/MarioCapodanno/Gwen2.5-3B-100Samples-SFT-GRPO, notebook_output/2_FineTuning.ipynb
const END = "</think>";
const OPEN = "```python";
const CLOSE = "```";

const texts = (completions) => completions.map((turn) => (typeof turn === "string" ? turn : turn[0].content));

/** 1.5 if a fenced program follows the end of the reasoning and a line break follows the program, else 0. */
export function match_format_exactly(_prompts, completions) {
  return texts(completions).map((text) => {
    const end = text.indexOf(END);
    const open = end < 0 ? -1 : text.indexOf(OPEN, end + END.length);
    if (open < 0) return 0;
    let close = text.indexOf(CLOSE, open + OPEN.length + 1);
    while (close >= 0 && !/^[^\S\n]*(?:\n|$)/.test(text.slice(close + CLOSE.length))) {
      close = text.indexOf(CLOSE, close + 1);
    }
    return close < 0 ? 0 : 1.5;
  });
}

/**
 * For each of the three marks: 0.25 if it occurs exactly once, else -0.5. The fence in the opening mark also counts as a
 * closing fence.
 */
export function match_format_approximately(_prompts, completions) {
  return texts(completions).map((text) =>
    [END, OPEN, CLOSE].reduce((score, mark) => score + (text.split(mark).length === 2 ? 0.25 : -0.5), 0),
  );
}
