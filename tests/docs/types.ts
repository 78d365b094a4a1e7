import { join } from "node:path";
import ts from "typescript";
import { root } from "./blocks.ts";

/** of the repository and its packages, for the next call */
const sources = new Map<string, ts.SourceFile | undefined>();

/**
 * The compiler's messages about programs, each a separate module, with the package's entries as users import them.
 *
 * @param programs names (for messages) and texts
 * @returns `name:line: message`
 */
export function typeFaults(programs: readonly (readonly [string, string])[]): string[] {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, root);
  const files = new Map(programs.map(([, text], i) => [join(root, `program-${i}.ts`), `${text}\nexport {};\n`]));
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.readFile = (name) => files.get(name) ?? readFile(name);
  host.getSourceFile = (name, target, ...more) => {
    const text = files.get(name);
    if (text !== undefined) return ts.createSourceFile(name, text, target);
    if (!sources.has(name)) sources.set(name, getSourceFile(name, target, ...more));
    return sources.get(name);
  };
  const names = [...files.keys()];
  const program = ts.createProgram(names, { ...options, noUnusedLocals: false, incremental: false }, host);
  return names.flatMap((name, i) => {
    const source = program.getSourceFile(name)!;
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    return found.map(({ start, messageText }) => {
      const { line } = source.getLineAndCharacterOfPosition(start ?? 0);
      return `${programs[i][0]}:${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
    });
  });
}
