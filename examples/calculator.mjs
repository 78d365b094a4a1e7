// An environment for `qwench grpo --environment examples/calculator.mjs`: functions that the model may call.
//
// `tools` has the schemas that the chat template shows the model. Each names an exported function of one object.

export const tools = [
  {
    type: "function",
    function: {
      name: "calculate",
      description: "Calculates an arithmetic expression.",
      parameters: {
        type: "object",
        properties: { expression: { type: "string", description: "Numbers with + - * / and parentheses" } },
        required: ["expression"],
      },
    },
  },
];

/** The value of an expression, as text. @throws {Error} it is no arithmetic; the model then reads the error */
export function calculate({ expression }) {
  const tokens = String(expression).match(/\d+(?:\.\d+)?|[-+*/()]|\S/g) ?? [];
  let at = 0;
  const sum = () => {
    let value = product();
    while (tokens[at] === "+" || tokens[at] === "-")
      value = tokens[at++] === "+" ? value + product() : value - product();
    return value;
  };
  const product = () => {
    let value = factor();
    while (tokens[at] === "*" || tokens[at] === "/") value = tokens[at++] === "*" ? value * factor() : value / factor();
    return value;
  };
  const factor = () => {
    const token = tokens[at++];
    if (token === "-") return -factor();
    if (token === "(") {
      const value = sum();
      if (tokens[at++] !== ")") throw new Error("a parenthesis is not closed");
      return value;
    }
    if (token === undefined || !/^\d/.test(token)) throw new Error(`expected a number, got ${token ?? "the end"}`);
    return Number(token);
  };
  if (tokens.length > 1000) throw new Error("the expression is too long");
  const value = sum();
  if (at < tokens.length) throw new Error(`cannot read ${tokens[at]}`);
  return String(Number(value.toFixed(10)));
}

/**
 * A reward: 1 if the last number that the model says is the answer, and 0.2 more if it has called the calculator.
 *
 * `--reward_funcs ./examples/calculator.mjs:solved`
 */
export function solved(_prompts, completions, { answer }) {
  return completions.map((turns, i) => {
    const last = turns.at(-1);
    const numbers = last.role === "assistant" ? (last.content.match(/-?\d+(?:\.\d+)?/g) ?? []) : [];
    const gold = String(answer[i])
      .replace(/^[\s\S]*####/, "")
      .replaceAll(",", "")
      .trim();
    const right = numbers.length > 0 && Number(numbers.at(-1)) === Number(gold);
    return (right ? 1 : 0) + (turns.some(({ role }) => role === "tool") ? 0.2 : 0);
  });
}
