/**
 * The program of a reward's worker, as plain JavaScript: a classic script, because browsers start no module worker from a blob of
 * an opaque origin. Its names are in a block, which the module does not see. It takes the module's text and a port, evaluates the module, and answers
 * calls. It keeps its own references, so that a module that changes built-in objects only harms itself.
 */
export const THREAD_PROGRAM = `"use strict"; {
const { apply } = Reflect;
const { postMessage } = MessagePort.prototype;
const { isArray, from } = Array;
const { isView } = ArrayBuffer;
const text = String;
let url = "";
const lineOf = (stack) => {
  const at = stack.indexOf(url + ":");
  return at < 0 ? null : parseInt(stack.slice(at + url.length + 1)) || null;
};
const told = (error) => {
  try {
    const isError = error instanceof Error;
    return {
      name: isError ? text(error.name) : "Error",
      message: isError ? text(error.message) : "it threw " + text(error),
      line: isError ? lineOf(text(error.stack)) : null,
    };
  } catch {
    return { name: "Error", message: "it threw something that cannot be shown", line: null };
  }
};
addEventListener("message", async ({ data: source, ports: [port] }) => {
  const reply = (message) => apply(postMessage, port, [message]);
  let loaded = null;
  port.onmessage = async ({ data: { id, name, input } }) => {
    try {
      const { prompts, completions, columns, ...known } = input;
      const signal = new AbortController().signal;
      const result = await loaded[name](prompts, completions, columns, { ...known, signal });
      const list = isArray(result) || isView(result);
      try {
        reply({ id, result: list ? from(result).slice(0, 100000) : result });
      } catch {
        reply({ id, error: { name: "TypeError", message: "it returned something that is not numbers and null", line: null } });
      }
    } catch (error) {
      reply({ id, error: told(error) });
    }
  };
  url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    loaded = await import(url);
    const result = [];
    for (const key in loaded) {
      const value = loaded[key];
      result[result.length] = { export: key, kind: typeof value, name: typeof value === "function" ? text(value.name) : null };
    }
    reply({ id: 0, result });
  } catch (error) {
    reply({ id: 0, error: { ...told(error), syntax: error instanceof SyntaxError } });
  }
}, { once: true });
}`;

/**
 * A program that only parses a module, for the line of its syntax error: its text as the body of a function that nobody calls,
 * with each `export` blanked out, so that lines and columns stay.
 */
export function parseProgram(text: string): string {
  const plain = text
    .replace(/^export(\s+)default\b/gm, (_, gap: string) => `_ =   ${gap}       `)
    .replace(/^export\b/gm, "      ");
  return `async function parsed() {${plain}\n}`;
}
