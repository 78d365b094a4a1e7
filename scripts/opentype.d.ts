// opentype.js 2.0.0 ships no types.
declare module "opentype.js" {
  /** A step of an outline, in pixels, y downwards: lines, quadratic and cubic Bézier curves. */
  export type PathCommand =
    | { type: "M"; x: number; y: number }
    | { type: "L"; x: number; y: number }
    | { type: "Q"; x1: number; y1: number; x: number; y: number }
    | { type: "C"; x1: number; y1: number; x2: number; y2: number; x: number; y: number }
    | { type: "Z" };
  export interface Glyph {
    /** in units of the font */
    advanceWidth: number;
    /** the outline with its origin at (x, y) */
    getPath(x: number, y: number, size: number): { commands: PathCommand[] };
  }
  export interface Font {
    unitsPerEm: number;
    /** index 0: the font lacks the character */
    charToGlyphIndex(character: string): number;
    charToGlyph(character: string): Glyph;
  }
  const opentype: { parse(buffer: ArrayBuffer): Font };
  export default opentype;
}
