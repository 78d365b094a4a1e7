import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

// A file imports from lower floors and from its own room. SIDEWAYS declares the exceptions on one floor. No circles.
const FLOORS: readonly (readonly string[])[] = [
  ["errors", "text", "shaders"],
  ["recipe", "gpu", "data", "rewards", "io"],
  ["kernels"],
  ["model"],
  ["train", "eval"],
  ["report"],
  ["session"],
  ["cli", "workers", "index"],
];
/** Arrows between rooms of one floor, each with its reason: moving a room up a floor would be worse. */
const SIDEWAYS: Record<string, string> = {
  "recipe → data": "a recipe for TRL names data sets by their addresses on the hub",
};
/** Rooms outside the floors, with the rooms that each may import. */
const BESIDE: Record<string, readonly string[]> = {
  platform: ["errors", "text", "gpu", "io"],
  client: ["errors", "text"],
  demo: ["errors", "text", "client"],
};
/** Files that a room outside the floors may also import: they import only errors, text and each other. */
const LEAVES: Record<string, readonly string[]> = {
  demo: [
    ...["metrics", "names", "scale", "text"].map((name) => `src/report/${name}.ts`),
    "src/io/images.ts",
    ...["about", "reward", "run"].map((name) => `src/rewards/${name}.ts`),
  ],
};
const PLATFORM_GUESTS = ["cli", "workers"];
const CLIENT_GUESTS = ["index", "workers"];
const NODE_ROOMS = ["platform", "cli"];
const NODE_ONLY = ["webgpu", "@sparticuz/chromium"];

const root = fileURLToPath(new URL("..", import.meta.url));

/** The room of a file, given its path from the root: `src/recipe/names.ts` → recipe, `src/index.ts` → index, `workers/x.ts` → workers. */
function roomOf(path: string): string {
  const [top, second] = path.split("/");
  return top === "src" ? second.replace(/\.d\.ts$|\.ts$/, "") : top;
}

/** The error of an import of `specifier` in `from`, or null. */
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
    if (BESIDE[room].includes(target) || LEAVES[room]?.includes(to)) return null;
    // the client and the page use only the session's types and the worker's URL
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
  if (floor(room) < 0) return `${from} is in ${room}, which is not a known room`;
  // the worker uses the client's message types
  if (target === "client" && CLIENT_GUESTS.includes(room)) return null;
  if (floor(target) < 0) return `${from} imports ${to}: ${target} is not below ${room}`;
  if (floor(target) < floor(room) || `${room} → ${target}` in SIDEWAYS) return null;
  return `${from} imports ${to}: ${target} is not below ${room}`;
}

interface Import {
  specifier: string;
  typeOnly: boolean;
}

const trees = new Map<string, ts.SourceFile>();
/** A file's syntax, parsed once. */
function parsed(path: string, text: string): ts.SourceFile {
  const key = `${path}\n${text}`;
  const tree = trees.get(key) ?? ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  trees.set(key, tree);
  return tree;
}

/** Every module that a file refers to: imports, re-exports, dynamic imports, `new URL("…", import.meta.url)`. */
function importsOf(path: string, text: string): Import[] {
  const key = `${path}\n${text}`;
  if (!imports.has(key)) imports.set(key, parseImports(path, text));
  return imports.get(key)!;
}

/** Several tests use each file. */
const imports = new Map<string, Import[]>();

function parseImports(path: string, text: string): Import[] {
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
  visit(parsed(path, text));
  return found;
}

function faultsOf(path: string, text: string): string[] {
  return importsOf(path, text).flatMap(({ specifier, typeOnly }) => fault(path, specifier, typeOnly) ?? []);
}

/** Circular imports, including type imports: each circle once, as a strongly connected component. */
function circles(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const visit = (file: string): void => {
    index.set(file, index.size);
    low.set(file, index.get(file)!);
    stack.push(file);
    for (const next of imports.get(file) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(file, Math.min(low.get(file)!, low.get(next)!));
    }
    if (low.get(file) !== index.get(file)) return;
    const part = stack.splice(stack.indexOf(file));
    if (part.length > 1 || imports.get(file)?.includes(file)) found.push(part.sort());
  };
  for (const file of imports.keys()) if (!index.has(file)) visit(file);
  return found;
}

/** The files of the repository that a file imports. */
function targetsOf(path: string, text: string): string[] {
  return importsOf(path, text)
    .filter(({ specifier }) => specifier.startsWith("."))
    .map(({ specifier }) => join(dirname(path), specifier.replace(/\?[\w&]+$/, "")));
}

function filesOf(...folders: string[]): string[] {
  return folders.flatMap((folder) => {
    try {
      return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));
    } catch {
      return []; // a room that does not exist yet
    }
  });
}

const files = filesOf("src", "shaders", "workers", "demo");
const read = (path: string) => readFileSync(join(root, path), "utf8");

describe("the floors", () => {
  test("every file imports from below or from its own folder", () => {
    const sources = files.filter((path) => path.endsWith(".ts"));
    expect(sources.length).toBeGreaterThan(10);
    expect(sources.flatMap((path) => faultsOf(path, read(path)))).toEqual([]);
  });

  test("no files import each other in a circle", () => {
    const sources = files.filter((path) => path.endsWith(".ts"));
    expect(circles(new Map(sources.map((path) => [path, targetsOf(path, read(path))])))).toEqual([]);
  });

  test("a circle is found, and so is a file that imports itself", () => {
    const imports = new Map([
      ["a.ts", ["b.ts"]],
      ["b.ts", ["c.ts", "d.ts"]],
      ["c.ts", ["a.ts"]],
      ["d.ts", []],
      ["e.ts", ["e.ts", "d.ts"]],
    ]);
    expect(circles(imports)).toEqual([["a.ts", "b.ts", "c.ts"], ["e.ts"]]);
  });

  test("leaves import only errors, text and each other", () => {
    const leaves = Object.values(LEAVES).flat();
    expect(
      leaves
        .flatMap((path) => targetsOf(path, read(path)).map((to) => `${path} → ${to}`))
        .filter((arrow) => {
          const to = arrow.split(" → ")[1];
          return !["errors", "text"].includes(roomOf(to)) && !leaves.includes(to);
        }),
    ).toEqual([]);
  });

  test("every declared sideways import is used, and stays on one floor", () => {
    const used = new Set(
      files
        .filter((path) => path.endsWith(".ts"))
        .flatMap((path) => targetsOf(path, read(path)).map((to) => `${roomOf(path)} → ${roomOf(to)}`)),
    );
    for (const arrow of Object.keys(SIDEWAYS)) {
      const [from, to] = arrow.split(" → ");
      expect(
        FLOORS.some((rooms) => rooms.includes(from) && rooms.includes(to)),
        arrow,
      ).toBe(true);
      expect(used.has(arrow), `${arrow} is declared and not used`).toBe(true);
    }
  });

  test.each([
    ["src/model/layers/block.ts", `import { rmsNorm } from "../../kernels/norm/rms-norm.ts";`],
    ["src/kernels/norm/rms-norm.ts", `import { rmsNorm } from "../../../shaders/norm/rms-norm.wgsl.ts";`],
    ["src/recipe/recipe.ts", `import { x } from "./names.ts"; import { RecipeError } from "../errors.ts";`],
    ["src/index.ts", `export { session } from "./session/open.ts"; export { client } from "./client.ts";`],
    ["src/client.ts", `import type { Session } from "./session/open.ts";`],
    ["src/cli/main.ts", `import { openAdapter } from "../platform/index.ts"; import "node:fs";`],
    ["workers/trainer.worker.ts", `import { session } from "../src/session/open.ts";`],
    ["workers/session/trainer.ts", `import { revive } from "../../src/client/wire.ts";`],
    ["demo/chart.ts", `import { ticks } from "../src/report/scale.ts";`],
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
    ["src/kernels/norm/rms-norm.ts", `import { block } from "../../model/layers/block.ts";`], // upwards
    ["src/data/rows.ts", `import { readJson } from "../io/json.ts";`], // sideways
    ["src/gpu/device.ts", `import type { Recipe } from "../recipe/names.ts";`], // sideways, by type
    ["src/train/sft/sft.ts", `import { passAtK } from "../../eval/pass-at-k.ts";`],
    ["src/train/sft/sft.ts", `export * from "../../session/open.ts";`],
    ["src/train/sft/sft.ts", `const { open } = await import("../../platform/index.ts");`],
    ["src/session/open.ts", `import { openAdapter } from "../platform/index.ts";`],
    ["src/io/storage.ts", `import { readFile } from "node:fs/promises";`],
    ["src/gpu/device.ts", `import { create } from "webgpu";`],
    ["src/model/config.ts", `import { ShapeError } from "../errors";`], // no extension
    ["src/model/config.ts", `import { golden } from "../../tests/golden.ts";`],
    ["src/model/config.ts", `type Row = import("../train/sft/sft.ts").Row;`],
    ["src/platform/node/node.ts", `import { block } from "../../model/layers/block.ts";`],
    ["src/client.ts", `import { Session } from "./session/open.ts";`], // by value: allowed only through the worker
    ["demo/main.ts", `import { sft } from "../src/train/sft/sft.ts";`],
    ["demo/chart.ts", `import { renderChart } from "../src/report/chart.ts";`],
    ["shaders/norm/rms-norm.wgsl.ts", `import { QwenchError } from "../../src/errors.ts";`],
    ["src/attic/old.ts", `import { QwenchError } from "../errors.ts";`], // an unknown room
  ])("refuses %s to do %s", (path, text) => {
    expect(faultsOf(path, text)).toHaveLength(1);
  });
});

/** Entries for programs outside the repository, and files that only a bundler's configuration refers to. */
const ENTRIES = [
  "src/index.ts",
  "src/client.ts",
  "src/platform/index.ts",
  "src/platform/headless.ts",
  "demo/widget.ts",
];

/** The names that a file exports with its own declarations. */
function exportsOf(path: string, text: string): string[] {
  return parsed(path, text).statements.flatMap((node) => {
    const marked =
      ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);
    if (!marked) return [];
    if (!ts.isVariableStatement(node)) return (node as ts.DeclarationStatement).name?.text ?? [];
    return node.declarationList.declarations.flatMap(({ name }) => (ts.isIdentifier(name) ? name.text : []));
  });
}

/** A file's imports from others: `file:name`, or `file:*` for a whole module. */
function usesOf(path: string, text: string): string[] {
  const found: string[] = [];
  const use = (specifier: ts.Node | undefined, names: readonly string[]) => {
    if (!specifier || !ts.isStringLiteralLike(specifier) || !specifier.text.startsWith(".")) return;
    const file = join(dirname(path), specifier.text.replace(/\?[\w&]+$/, ""));
    found.push(...names.map((name) => `${file}:${name}`));
  };
  const named = (elements: readonly (ts.ImportSpecifier | ts.ExportSpecifier)[]) =>
    elements.map(({ propertyName, name }) => (propertyName ?? name).text);
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const bindings = node.importClause?.namedBindings;
      use(node.moduleSpecifier, bindings ? (ts.isNamedImports(bindings) ? named(bindings.elements) : ["*"]) : []);
    } else if (ts.isExportDeclaration(node)) {
      const clause = node.exportClause;
      use(node.moduleSpecifier, clause && ts.isNamedExports(clause) ? named(clause.elements) : ["*"]);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      use(node.arguments[0], ["*"]);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      use(node.argument.literal, node.qualifier ? [node.qualifier.getText().split(".")[0]] : ["*"]);
    }
    ts.forEachChild(node, visit);
  };
  visit(parsed(path, text));
  return found;
}

/** Exports that no other file imports. */
function unused(sources: ReadonlyMap<string, string>): string[] {
  const uses = new Set([...sources].flatMap(([path, text]) => usesOf(path, text)));
  // a file that re-exports all of another uses the names that its own users import
  const passes = [...sources].flatMap(([path, text]) =>
    [...text.matchAll(/^export \* from "(\.[^"]+)";/gm)].map(([, to]) => [path, join(dirname(path), to)] as const),
  );
  for (const [path, to] of passes) {
    if (ENTRIES.includes(path)) continue;
    uses.delete(`${to}:*`);
    for (const use of [...uses]) if (use.startsWith(`${path}:`)) uses.add(to + use.slice(path.length));
  }
  return [...sources].flatMap(([path, text]) =>
    ENTRIES.includes(path) || path.startsWith("tests/") || uses.has(`${path}:*`)
      ? []
      : exportsOf(path, text)
          .filter((name) => !uses.has(`${path}:${name}`))
          .map((name) => `${path} exports ${name}, which no other file uses`),
  );
}

describe("exports", () => {
  test("each has a user in another file", () => {
    const paths = filesOf("src", "shaders", "workers", "demo", "bench", "scripts", "tests").filter((path) =>
      path.endsWith(".ts"),
    );
    expect(unused(new Map(paths.map((path) => [path, read(path)])))).toEqual([]);
  });

  test("an export without a user is found; a re-exported module, or one imported as a whole, has users", () => {
    const sources = new Map([
      ["src/a.ts", "export const used = 1, left = 2;\nexport interface Left {}\nexport function taken() {}"],
      ["src/b.ts", 'import { used as mine } from "./a.ts";\nexport * from "./c.ts";'],
      ["src/c.ts", "export class C {}\nexport class D {}"],
      ["src/d.ts", 'import { C } from "./b.ts";\nconst all = await import("./e.ts");'],
      ["src/e.ts", "export const e = 1;"],
      ["tests/a.test.ts", 'type T = import("../src/a.ts").taken;'],
    ]);
    expect(unused(sources).map((line) => line.split(",")[0])).toEqual([
      "src/a.ts exports left",
      "src/a.ts exports Left",
      "src/c.ts exports D",
    ]);
  });
});

/** Functions that may be longer, each with its reason. */
const LONG: Record<string, string> = {
  "src/rewards/code/sandbox.ts": "its text is the program of a thread, so it is one function that uses nothing outside",
  "src/rewards/code/interpreter.ts": "as the sandbox, of whose text it is a part",
};
const MOST_LINES = 400;
const MOST_FUNCTION_LINES = 120;
const MOST_PARAMETERS = 6;

/** Oversized parts of a file: the file itself, a function, or a parameter list. */
function tooLarge(path: string, text: string): string[] {
  const found: string[] = [];
  const source = parsed(path, text);
  const lineOf = (position: number) => source.getLineAndCharacterOfPosition(position).line + 1;
  const lines = text.trimEnd().split("\n").length;
  if (lines > MOST_LINES) found.push(`${path} has ${lines} lines`);
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) {
      const first = lineOf(node.getStart());
      const span = lineOf(node.end) - first + 1;
      const body = "body" in node && node.body !== undefined;
      if (body && span > MOST_FUNCTION_LINES && !(path in LONG))
        found.push(`${path}:${first} is a function of ${span} lines`);
      const { length } = node.parameters;
      if (length > MOST_PARAMETERS) found.push(`${path}:${first} takes ${length} parameters`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

describe("sizes", () => {
  test("no file above 400 lines, no function above 120, no more than 6 parameters", () => {
    const sources = filesOf("src", "shaders", "workers", "demo", "bench", "scripts").filter((path) =>
      path.endsWith(".ts"),
    );
    expect(sources.length).toBeGreaterThan(10);
    expect(sources.flatMap((path) => tooLarge(path, read(path)))).toEqual([]);
  });

  test("oversized parts are found", () => {
    const long = `function f(a, b, c, d, e, f, g) {\n${"  a++;\n".repeat(119)}}\n`;
    expect(tooLarge("x.ts", long)).toEqual(["x.ts:1 is a function of 121 lines", "x.ts:1 takes 7 parameters"]);
    expect(tooLarge("x.ts", "a;\n".repeat(401))).toEqual(["x.ts has 401 lines"]);
    expect(tooLarge("x.ts", long.replace("  a++;\n", "").replace(", g", ""))).toEqual([]);
  });
});

test("the product never reads data outside the repository", () => {
  const beside = ["..", "shared"].join("/");
  const variable = ["QWENCH", "SHARED"].join("_");
  const mentions = (text: string) => text.includes(beside) || text.includes(variable);
  expect(mentions(`const golden = "${beside}/golden";`)).toBe(true);
  expect(mentions(`process.env.${variable}`)).toBe(true);
  expect(files.filter((path) => mentions(read(path)))).toEqual([]);
});
