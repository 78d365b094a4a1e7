import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";

// A test that returns before an assertion passes without a check. A test that cannot run must be skipped, which is
// counted.

const TESTS = new Set(["it", "test"]);

/** The name at the start of a test function's call: `it`, `test.each(…)`, `it.skipIf(…)`; else null. */
function testName(call: ts.CallExpression): string | null {
  let callee: ts.Expression = call.expression;
  while (!ts.isIdentifier(callee)) {
    if (ts.isPropertyAccessExpression(callee) || ts.isCallExpression(callee)) callee = callee.expression;
    else if (ts.isTaggedTemplateExpression(callee)) callee = callee.tag;
    else return null;
  }
  return TESTS.has(callee.text) ? callee.text : null;
}

/** Lines on which a test's own function returns under a condition. */
function earlyReturns(name: string, text: string): string[] {
  const source = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const inTest = (node: ts.Node, conditional: boolean): void => {
    if (ts.isFunctionLike(node)) return; // another function
    if (ts.isReturnStatement(node) && conditional) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart());
      found.push(`${name}:${line + 1}`);
    }
    ts.forEachChild(node, (child) => inTest(child, conditional || ts.isIfStatement(node)));
  };
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && testName(node)) {
      for (const argument of node.arguments) {
        if (ts.isArrowFunction(argument) || ts.isFunctionExpression(argument)) inTest(argument.body, false);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

test("finds an early return in every form of test, but ignores returns of inner functions", () => {
  const found = (text: string) => earlyReturns("x.test.ts", text).length;
  expect(found(`it("a", () => { if (!data) return; expect(1).toBe(1); });`)).toBe(1);
  expect(found(`test.each([1])("a", async (n) => { if (n) { log(); return expect(n).toBe(1); } });`)).toBe(1);
  expect(found(`describe("b", () => { it.skipIf(x)("a", function () { for (const y of z) if (y) return; }); });`)).toBe(
    1,
  );
  expect(found(`it("a", () => { const f = (x) => { if (x) return 1; return 2; }; expect(f(1)).toBe(1); });`)).toBe(0);
  expect(found(`it("a", () => { if (b) c(); return run(); });`)).toBe(0);
});

test("no test returns early and passes", () => {
  const files = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" }).filter((name) =>
    /\.(test|slow)\.ts$/.test(name),
  );
  expect(files.length).toBeGreaterThan(100);
  expect(files.flatMap((name) => earlyReturns(name, readFileSync(join(import.meta.dirname, name), "utf8")))).toEqual(
    [],
  );
});

test("test files read shared data only through the helpers that report missing data", () => {
  const variable = ["QWENCH", "SHARED"].join("_");
  const own = new Set(["shared.ts"]);
  const files = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  expect(
    files.filter((name) => !own.has(name) && readFileSync(join(import.meta.dirname, name), "utf8").includes(variable)),
  ).toEqual([]);
});
