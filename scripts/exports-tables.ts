// Tables of the package's exports, one per entry, read from the sources' declarations and docstrings.
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { markdownTable } from "../src/text/tables.ts";
import { cell, headed } from "./markdown.ts";

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Entries of package.json and their sources. */
const ENTRIES: Readonly<Record<string, string>> = {
  qwench: "src/index.ts",
  "qwench/platform": "src/platform/headless.ts",
  "qwench/client": "src/client.ts",
};

interface Exported {
  name: string;
  kind: "function" | "class" | "constant" | "type";
  /** the first sentence of its docstring, or empty */
  summary: string;
  /** path of the file that declares it, from the root */
  file: string;
}

let library: ts.Program | null = null;

/** The compiler's view of the package's entries. */
export function libraryProgram(): ts.Program {
  if (library) return library;
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023,
    lib: ["lib.es2023.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts", "lib.dom.asynciterable.d.ts"],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    types: ["@webgpu/types", "node"],
    allowImportingTsExtensions: true,
    resolveJsonModule: true,
    skipLibCheck: true,
    strict: true,
    noEmit: true,
  };
  return (library = ts.createProgram(Object.values(ENTRIES).map(at), options));
}

/** Each entry's exports, sorted by name. A name that is both a type and a value counts once, as the value. */
export function exportedNames(program: ts.Program = libraryProgram()): Record<string, Exported[]> {
  const checker = program.getTypeChecker();
  const root = at("");
  return Object.fromEntries(
    Object.entries(ENTRIES).map(([entry, path]) => {
      const source = program.getSourceFile(at(path))!;
      const names = checker.getExportsOfModule(checker.getSymbolAtLocation(source)!);
      const exported = names.map((symbol) => describe(symbol, checker, root));
      return [entry, exported.sort((a, b) => (a.name < b.name ? -1 : 1))];
    }),
  );
}

function describe(symbol: ts.Symbol, checker: ts.TypeChecker, root: string): Exported {
  const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const text = ts.displayPartsToString(target.getDocumentationComment(checker)).replace(/\s+/g, " ").trim();
  const { fileName } = target.declarations![0].getSourceFile();
  return { name: symbol.name, kind: kindOf(target), summary: firstSentence(text), file: fileName.slice(root.length) };
}

function kindOf({ flags }: ts.Symbol): Exported["kind"] {
  if (flags & ts.SymbolFlags.Class) return "class";
  if (flags & ts.SymbolFlags.Function) return "function";
  return flags & ts.SymbolFlags.Variable ? "constant" : "type";
}

/** The text up to the first full stop or colon that ends a sentence. */
function firstSentence(text: string): string {
  const plain = text.replace(/\{@link ([^}]+)\}/g, "`$1`");
  return /^.*?[.!?](?=\s+(?:[A-Z`]|- )|\s*$)/.exec(plain)?.[0] ?? plain;
}

/** One table per entry. */
export function exportsTables(): string {
  return Object.entries(exportedNames())
    .map(([entry, exported]) => {
      const rows = exported.map(({ name, kind, summary, file }) => [`[\`${name}\`](../${file})`, kind, cell(summary)]);
      return `### \`${entry}\`\n\n${markdownTable(headed("export", "kind", "what it is"), rows)}`;
    })
    .join("\n\n");
}
