import { readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import opentype, { type Font } from "opentype.js";

/** A font, with the name of its file. */
export interface NamedFont {
  name: string;
  font: Font;
}

/** The folder of Liberation Sans (four styles), which pdf.js ships: these fonts are on every machine. */
function shippedFonts(): string {
  const entry = createRequire(import.meta.url).resolve("pdfjs-dist/package.json");
  return join(dirname(entry), "standard_fonts");
}

/**
 * Reads fonts.
 *
 * @param paths files (TTF, OTF), or folders with such files; none: Liberation Sans
 * @throws {Error} a file that is no font, or a folder without fonts
 */
export function readFonts(paths: readonly string[] = []): NamedFont[] {
  return (paths.length > 0 ? paths : [shippedFonts()]).flatMap((path) => {
    const files = statSync(path).isDirectory() ? filesIn(path) : [path];
    if (files.length === 0) throw new Error(`Cannot use ${path}: the folder has no .ttf or .otf file`);
    return files.map((file) => {
      const bytes = readFileSync(file);
      try {
        const font = opentype.parse(
          bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer,
        );
        return { name: basename(file), font };
      } catch (error) {
        throw new Error(`Cannot use ${file}: it is not a TrueType or OpenType font (${(error as Error).message})`);
      }
    });
  });
}

const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.[ot]tf$/i.test(name))
    .sort()
    .map((name) => join(folder, name));
