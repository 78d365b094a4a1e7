import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

// The house of DESIGN §1: a file imports from lower floors and from its own folder, never sideways.
const FLOORS: readonly (readonly string[])[] = [
  ["errors", "shaders"],
  ["recipe", "gpu", "data", "rewards", "io"],
  ["kernels"],
  ["model"],
  ["train", "eval"],
  ["session"],
  ["cli", "workers", "index"],
];
/** Rooms beside the floors: what each may import, and who may import it. */
const BESIDE: Record<string, readonly string[]> = {
  platform: ["errors", "gpu", "io"],
  client: ["errors"],
  demo: ["errors", "client"],
};
const PLATFORM_GUESTS = ["cli", "workers"];
const CLIENT_GUESTS = ["index", "workers"];
const NODE_ROOMS = ["platform", "cli"];
const NODE_ONLY = ["webgpu", "@sparticuz/chromium"];

const root = fileURLToPath(new URL("..", import.meta.url));

/** The room of a file, given its path from the root: `src/recipe-names.ts` → recipe, `src/session-grpo.ts` → session, `workers/x.ts` → workers. */
function roomOf(path: string): string {
  const [top, second] = path.split("/");
  if (top !== "src") return top;
  const stem = second.replace(/\.d\.ts$|\.ts$/, "");
  return ["recipe", "session"].find((room) => stem.startsWith(room)) ?? stem;
}

/** What is wrong with `from` importing `specifier`, or null. */
function fault(from: string, specifier: string, typeOnly: boolean): string | null {
  const room = roomOf(from);
  const bare = !specifier.startsWith(".");
  if (bare) {
    const native = specifier.startsWith("node:") || NODE_ONLY.includes(specifier);
    if (native && !NODE_ROOMS.includes(room)) return `${from} imports ${specifier}: only ${NODE_ROOMS.join(", ")} may`;
    return null;
  }
  if (!/\.(ts|js|json|css)(\?[\w&]+)?$/.test(specifier))
    return `${from} imports ${specifier}: it must carry its extension`;
  const to = join(dirname(from), specifier.replace(/\?[\w&]+$/, ""));
  if (to.startsWith("..")) return `${from} imports ${specifier}: outside of the repository`;
  const target = roomOf(to);
  if (target === room) return null;
  if (["tests", "bench", "scripts", "package.json"].includes(target))
    return `${from} imports ${to}: not part of the product`;
  if (room in BESIDE) {
    if (BESIDE[room].includes(target)) return null;
    // the client and the page know the session by its types, and the worker by its address
    const remote = target === "workers" || (typeOnly && FLOORS.some((floor) => floor.includes(target)));
    if (room !== "platform" && remote) return null;
    return `${from} imports ${to}: ${room} may import ${BESIDE[room].join(", ")}`;
  }
  if (target === "platform") {
    return PLATFORM_GUESTS.includes(room)
      ? null
      : `${from} imports ${to}: platform is for ${PLATFORM_GUESTS.join(", ")}`;
  }
  const floor = (name: string) => FLOORS.findIndex((rooms) => rooms.includes(name));
  if (floor(room) < 0) return `${from} lies in ${room}, which is no room of the house`;
  // the worker speaks the client's language
  if (target === "client" && CLIENT_GUESTS.includes(room)) return null;
  if (floor(target) < 0) return `${from} imports ${to}: ${target} is not below ${room}`;
  return floor(target) < floor(room) ? null : `${from} imports ${to}: ${target} is not below ${room}`;
}

interface Import {
  specifier: string;
  typeOnly: boolean;
}

/** Every module that a file names: imports, re-exports, dynamic imports, `new URL("…", import.meta.url)`. */
function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const clause = node.importClause;
      const named = clause?.namedBindings;
      const allTypes =
        named && ts.isNamedImports(named) && !clause.name && named.elements.every((element) => element.isTypeOnly);
      const typeOnly = Boolean(clause?.phaseModifier === ts.SyntaxKind.TypeKeyword || allTypes);
      found.push({ specifier: node.moduleSpecifier.text, typeOnly });
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) {
      found.push({ specifier: node.moduleSpecifier.text, typeOnly: node.isTypeOnly });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [first] = node.arguments;
      if (first && ts.isStringLiteralLike(first)) found.push({ specifier: first.text, typeOnly: false });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      const { literal } = node.argument;
      if (ts.isStringLiteral(literal)) found.push({ specifier: literal.text, typeOnly: true });
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true));
  return found;
}

function faultsOf(path: string, text: string): string[] {
  return importsOf(path, text).flatMap(({ specifier, typeOnly }) => fault(path, specifier, typeOnly) ?? []);
}

function productFiles(): string[] {
  return ["src", "shaders", "workers", "demo"].flatMap((folder) => {
    try {
      return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));
    } catch {
      return []; // a room that is not built yet
    }
  });
}

const files = productFiles();
const read = (path: string) => readFileSync(join(root, path), "utf8");

describe("the floors of the house", () => {
  test("every file imports from below or from its own folder", () => {
    const sources = files.filter((path) => path.endsWith(".ts"));
    expect(sources.length).toBeGreaterThan(10);
    expect(sources.flatMap((path) => faultsOf(path, read(path)))).toEqual([]);
  });

  test.each([
    ["src/model/block.ts", `import { rmsNorm } from "../kernels/rms-norm.ts";`],
    ["src/kernels/rms-norm.ts", `import { rmsNorm } from "../../shaders/rms-norm.wgsl.ts";`],
    ["src/recipe.ts", `import { x } from "./recipe-names.ts"; import { RecipeError } from "./errors.ts";`],
    ["src/index.ts", `export { session } from "./session.ts"; export { client } from "./client.ts";`],
    ["src/client.ts", `import type { Session } from "./session.ts";`],
    ["src/cli/main.ts", `import { openAdapter } from "../platform/index.ts"; import "node:fs";`],
    ["workers/trainer.worker.ts", `import { session } from "../src/session.ts";`],
    ["workers/session/trainer.ts", `import { revive } from "../../src/client/wire.ts";`],
    ["demo/main.ts", `const w = await import("../src/client.ts"); import url from "../workers/x.worker.ts?worker";`],
    [
      "demo/widget/host.ts",
      `import W from "../../workers/x.worker.ts?worker&inline"; import css from "../a.css?inline";`,
    ],
  ])("lets %s do %s", (path, text) => {
    expect(importsOf(path, text).length).toBeGreaterThan(0);
    expect(faultsOf(path, text)).toEqual([]);
  });

  test.each([
    ["src/kernels/rms-norm.ts", `import { block } from "../model/block.ts";`], // upwards
    ["src/data/rows.ts", `import { readJson } from "../io/json.ts";`], // sideways
    ["src/gpu/device.ts", `import type { Recipe } from "../recipe-names.ts";`], // sideways, by type
    ["src/train/sft.ts", `import { passAtK } from "../eval/pass-at-k.ts";`],
    ["src/train/sft.ts", `export * from "../session.ts";`],
    ["src/train/sft.ts", `const { open } = await import("../platform/index.ts");`],
    ["src/session.ts", `import { openAdapter } from "./platform/index.ts";`],
    ["src/io/storage.ts", `import { readFile } from "node:fs/promises";`],
    ["src/gpu/device.ts", `import { create } from "webgpu";`],
    ["src/model/config.ts", `import { ShapeError } from "../errors";`], // no extension
    ["src/model/config.ts", `import { golden } from "../../tests/golden.ts";`],
    ["src/model/config.ts", `type Row = import("../train/sft.ts").Row;`],
    ["src/platform/node.ts", `import { block } from "../model/block.ts";`],
    ["src/client.ts", `import { Session } from "./session.ts";`], // by value: only through the worker
    ["demo/main.ts", `import { sft } from "../src/train/sft.ts";`],
    ["shaders/rms-norm.wgsl.ts", `import { QwenchError } from "../src/errors.ts";`],
    ["src/attic/old.ts", `import { QwenchError } from "../errors.ts";`], // a room that nobody planned
  ])("refuses %s to do %s", (path, text) => {
    expect(faultsOf(path, text)).toHaveLength(1);
  });
});

test("the product never asks for what lies beside the repository", () => {
  const beside = ["..", "shared"].join("/");
  const variable = ["QWENCH", "SHARED"].join("_");
  const mentions = (text: string) => text.includes(beside) || text.includes(variable);
  expect(mentions(`const golden = "${beside}/golden";`)).toBe(true);
  expect(mentions(`process.env.${variable}`)).toBe(true);
  expect(files.filter((path) => mentions(read(path)))).toEqual([]);
});
