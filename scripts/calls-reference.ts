// The reference of the library's calls: their options and events, read from TypeScript's own declarations.
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { markdownTable } from "../src/text/tables.ts";
import { libraryProgram } from "./exports-tables.ts";
import { cell, headed } from "./markdown.ts";

const ENTRY = fileURLToPath(new URL("../src/index.ts", import.meta.url));
/** The calls, in the order of the page. */
const CALLS = ["train", "evaluate", "generate", "exportModel"];
/** How far a type's alias may be spelled out before it is too long for a cell. */
const LONGEST = 90;

/** One section a call: its sentence, options, events and errors. */
export function callsReference(): string {
  const program = libraryProgram();
  const checker = program.getTypeChecker();
  const exports = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(ENTRY)!)!);
  return CALLS.map((name) => {
    const symbol = exports.find((one) => one.name === name);
    if (!symbol) throw new Error(`src/index.ts exports no ${name}`);
    return section(name, aliased(symbol, checker), checker);
  }).join("\n\n");
}

function aliased(symbol: ts.Symbol, checker: ts.TypeChecker): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

function section(name: string, symbol: ts.Symbol, checker: ts.TypeChecker): string {
  const declaration = symbol.valueDeclaration as ts.FunctionDeclaration;
  const [call] = declaration.parameters;
  const options = checker.getTypeAtLocation(call.type!);
  const events = (declaration.type as ts.TypeReferenceNode).typeArguments![0];
  const optionRows = options.getProperties().map((property) => optionRow(property, checker));
  const eventRows = membersOf(checker.getTypeFromTypeNode(events), checker).map((type) => eventRow(type, checker));
  const thrown = symbol
    .getJsDocTags()
    .filter((tag) => tag.name === "throws")
    .map(
      (tag) =>
        `- ${ts
          .displayPartsToString(tag.text)
          .replace(/^\{(\w+)\}/, "`$1`:")
          .replaceAll(/\s+/g, " ")}`,
    );
  return [
    `#### \`${name}(${call.name.getText()}: ${call.type!.getText()})\``,
    docOf(symbol, checker),
    markdownTable(headed("option", "type", "what it is"), optionRows),
    markdownTable(headed("event", "fields"), merged(eventRows)),
    ...(thrown.length > 0 ? [`Errors:\n\n${thrown.join("\n")}`] : []),
  ].join("\n\n");
}

function docOf(symbol: ts.Symbol, checker: ts.TypeChecker): string {
  return ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim();
}

function optionRow(property: ts.Symbol, checker: ts.TypeChecker): string[] {
  const optional = (property.flags & ts.SymbolFlags.Optional) !== 0;
  const doc = docOf(property, checker).replaceAll(/\s+/g, " ");
  return [`\`${property.name}${optional ? "?" : ""}\``, codeCell(typeText(property, checker)), cell(doc)];
}

/** A property's type as its declaration spells it, else as the checker does. */
function typeText(property: ts.Symbol, checker: ts.TypeChecker): string {
  const declared = property.declarations?.find((one) => ts.isPropertySignature(one));
  const written = declared?.type?.getText().replaceAll(/\s+/g, " ");
  return written ?? checker.typeToString(checker.getTypeOfSymbol(property), undefined, ts.TypeFormatFlags.NoTruncation);
}

/** A type in a cell: within code, only bars need an escape. */
const codeCell = (text: string) => `\`${text.replaceAll("|", "\\|")}\``;

/** The object types of a union, also behind a type parameter. */
function membersOf(type: ts.Type, checker: ts.TypeChecker): ts.Type[] {
  const known = type.flags & ts.TypeFlags.Instantiable ? (checker.getBaseConstraintOfType(type) ?? type) : type;
  return known.isUnion() ? known.types.flatMap((member) => membersOf(member, checker)) : [known];
}

/** The event's name and its other fields with their types. */
function eventRow(type: ts.Type, checker: ts.TypeChecker): string[] {
  const name = type.getProperty("type");
  if (!name) throw new Error(`The event ${checker.typeToString(type)} has no field type`);
  const kind = (checker.getTypeOfSymbol(name) as ts.StringLiteralType).value;
  const fields = type
    .getProperties()
    .filter((property) => property.name !== "type")
    .map((property) => {
      const text = typeText(property, checker);
      return text.length <= LONGEST ? `\`${property.name}\`: ${codeCell(text)}` : `\`${property.name}\``;
    });
  return [`\`${kind}\``, fields.join(", ")];
}

/** Events sorted by name; one that several methods have, with other fields, is one row for each kind of fields. */
function merged(rows: readonly string[][]): string[][] {
  const seen = new Map(rows.map((row) => [row.join("\n"), row]));
  return [...seen.values()].sort((a, b) => (a.join() < b.join() ? -1 : 1));
}
