import { expect, test } from "vitest";
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
