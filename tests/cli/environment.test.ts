import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openEnvironment } from "../../src/cli/sources/environment.ts";

const CALCULATOR = join(import.meta.dirname, "../../examples/calculator.mjs");
let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "environment-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const module = (text: string) => {
  const file = join(mkdtempSync(join(root, "m-")), "tools.mjs");
  writeFileSync(file, text);
  return file;
};
const schema = (name: string) => JSON.stringify([{ type: "function", function: { name } }]);

describe("an environment", () => {
  it("is a module's functions in their own thread: the calculator", async () => {
    const environment = await openEnvironment(CALCULATOR);
    expect(environment.names).toEqual(["calculate"]);
    const calculate = (expression: unknown) => environment.call("calculate", { expression });
    expect(await calculate("(7*4)+64")).toBe("92");
    expect(await calculate("1/3 - -2")).toBe("2.3333333333");
    expect(await calculate("2*(3-4)*5/10")).toBe("-1");
    for (const [expression, message] of [
      ["1+", "expected a number, got the end"],
      ["(1", "a parenthesis is not closed"],
      ["1 2", "cannot read 2"],
      ["process.exit()", "expected a number, got p"],
    ]) {
      await expect(calculate(expression)).rejects.toThrow(message);
    }
    await environment.close();
    await expect(calculate("1")).rejects.toThrow("ended its thread");
  });

  it.each([
    ["export const double = 1;", "it must export tools, a list of JSON schemas"],
    ["export const tools = [];", "it must export tools, a list of JSON schemas"],
    [`export const tools = [{ name: 3 }];`, "a schema of tools needs"],
    [`export const tools = ${schema("double")};`, "tools names double, but that export is missing"],
    [`export const tools = ${schema("double")}; export const double = 1;`, "that export is number, not a function"],
    ["throw new Error('no');", "Error: no"],
  ])("is refused: %s", async (text, message) => {
    await expect(openEnvironment(module(text))).rejects.toThrow(message);
  });

  it("must be there", async () => {
    await expect(openEnvironment(join(root, "none.mjs"))).rejects.toThrow("there is no such file");
  });
});
