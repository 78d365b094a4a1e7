import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { pythonFiles, textThread } from "../../../src/platform/node/code-thread.ts";
import { HARNESS } from "../../../src/rewards/code/harness.ts";
import { sandboxProgram } from "../../../src/rewards/code/sandbox.ts";
import { HOSTILE, RARE } from "./hostile.ts";
import { endsAlone, UNHIDE, usePools } from "./pools.ts";

const { pool, hurried, printed } = usePools();

test.each(HOSTILE.filter(([name]) => RARE.includes(name)))("%s: %s, and the next program runs", (_, outcome, code) =>
  endsAlone({ pool, hurried }, outcome, code),
);

test("JavaScript objects in Python's heap are of no use", async () => {
  const search = (use: string) => `${UNHIDE}
import gc
from pyodide.ffi import JsProxy
seen, todo, found = set(), list(gc.get_objects()), []
while todo:
    item = todo.pop()
    if id(item) in seen: continue
    seen.add(id(item))
    if isinstance(item, JsProxy): found.append(item)
    todo.extend(gc.get_referents(item))
print(len(seen) > 10000, len(found))
${use}
`;
  const found = /"True (\d+)"/.exec(await printed(search("")));
  for (let i = 0; i < Number(found![1]); i++) {
    const said = await printed(search(`found[${i}].constructor`));
    expect(said).toMatch(/^runtime_error: (it called \w+, which is not allowed|table index is out of bounds)$/);
  }
});

test("the thread behind Python also has nothing to use", async () => {
  // the sandbox, then the remaining globals of its thread, through a function that was created before
  const program = `(port) => {
    const left = () => {
      const names = [];
      for (let owner = globalThis; owner; owner = Object.getPrototypeOf(owner)) names.push(...Object.getOwnPropertyNames(owner));
      const makers = [() => {}, async () => {}, function* () {}, async function* () {}].map((f) => f.constructor === Object);
      return { names: names.filter((name) => globalThis[name] !== undefined), makers, evals: typeof globalThis.eval };
    };
    (${sandboxProgram()})({ post: (reply) => port.post({ type: reply.type, ...left() }), listen: port.listen });
  }`;
  const thread = textThread<unknown, { type: string; names: string[]; makers: boolean[]; evals: string }>(program);
  const reply = new Promise<{ type: string; names: string[]; makers: boolean[]; evals: string }>(thread.onReply);
  const limits = { memory_bytes: 2 ** 28, output_bytes: 2 ** 20 };
  thread.post({ type: "boot", files: await pythonFiles(), harness: HARNESS, state: null, limits });
  const { type, names, makers, evals } = await reply;
  await thread.end();
  expect({ type, evals }).toEqual({ type: "ready", evals: "undefined" });
  // names that are not the language's own
  const language = new Set(runInNewContext("Object.getOwnPropertyNames(globalThis)") as string[]);
  const own = names.filter((name) => !language.has(name) && !(name in Object.prototype));
  expect(new Set(own)).toEqual(new Set(["TextDecoder", "TextEncoder", "performance", "__name", "queueMicrotask"]));
  expect(names).not.toContain("Function");
  expect(makers).toEqual([true, true, true, true]); // none is Function's kind
});
