/**
 * The program of a reward's worker, as plain JavaScript. It takes the module's text and a port, evaluates the module, and answers
 * calls. It keeps its own references, so that a module that changes built-in objects only harms itself.
 */
export const THREAD_PROGRAM = `
const { apply } = Reflect;
const { postMessage } = MessagePort.prototype;
const { isArray, from } = Array;
const { isView } = ArrayBuffer;
const text = String;
const told = (error) => {
  try {
    const isError = error instanceof Error;
    const line = /blob:[^\\s)]*:(\\d+):\\d+/.exec(isError ? text(error.stack) : "");
    return {
      name: isError ? text(error.name) : "Error",
      message: isError ? text(error.message) : "it threw " + text(error),
      line: line ? Number(line[1]) : null,
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
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    loaded = await import(url);
    reply({ id: 0, result: Object.entries(loaded).map(([key, value]) => (
      { export: key, kind: typeof value, name: typeof value === "function" ? text(value.name) : null })) });
  } catch (error) {
    reply({ id: 0, error: { ...told(error), syntax: error instanceof SyntaxError } });
  }
}, { once: true });
`;
