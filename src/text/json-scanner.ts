// a character that ends a plain section of a string
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them
const SPECIAL = /["\\\u0000-\u001f]/g;
const SPACE = /[ \t\n\r]*/y;

/** Scans the text of a JSON value. The readers differ only in how they represent numbers. */
export class JsonScanner {
  protected readonly text: string;
  protected at = 0;

  constructor(text: string) {
    this.text = text;
  }

  protected string(): string {
    const start = this.at;
    if (this.text[start] !== '"') this.fail();
    SPECIAL.lastIndex = start + 1;
    for (;;) {
      const found = SPECIAL.exec(this.text);
      this.at = found ? found.index : this.text.length;
      if (found?.[0] === '"') break;
      if (found?.[0] !== "\\") this.fail();
      SPECIAL.lastIndex = this.at + 2;
    }
    this.at++;
    const text = this.text.slice(start, this.at);
    return text.includes("\\") ? JSON.parse(text) : text.slice(1, -1);
  }

  protected next(mark: string): boolean {
    this.space();
    if (this.text[this.at] !== mark) return false;
    this.at++;
    return true;
  }

  protected space(): void {
    SPACE.lastIndex = this.at;
    SPACE.exec(this.text);
    this.at = SPACE.lastIndex;
  }

  protected fail(): never {
    const found = this.at < this.text.length ? JSON.stringify(this.text[this.at]) : "the end";
    throw new SyntaxError(`unexpected ${found} at position ${this.at}`);
  }
}
