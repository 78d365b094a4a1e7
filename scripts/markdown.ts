// Helpers of the scripts that write documents.

/** Escapes text for a cell of a Markdown table. */
export function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

/** Left-aligned columns of a table. */
export function headed(...headings: string[]): { heading: string }[] {
  return headings.map((heading) => ({ heading }));
}

/** Replaces the table between the markers `<!-- name -->` and `<!-- /name -->` in a text. @throws if a marker is missing */
export function between(text: string, name: string, table: string): string {
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const from = text.indexOf(open);
  const to = text.indexOf(close);
  if (from < 0 || to < from) throw new Error(`The document must hold ${open} and, after it, ${close}`);
  return `${text.slice(0, from + open.length)}\n${table}\n${text.slice(to)}`;
}
