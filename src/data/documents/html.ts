import { checkDepth, cleanText, type ReadDocument, type ReadOptions, TextSink } from "./document.ts";

/** Elements whose content is not text for a reader. */
const HIDDEN = new Set(
  "script style noscript template svg math iframe object embed audio video canvas select datalist head".split(" "),
);
/** Elements that begin a new line. */
const BLOCKS = new Set(
  "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol optgroup option p pre section summary table tbody tfoot thead tr ul".split(
    " ",
  ),
);
/** Elements after which an empty line follows. */
const PARAGRAPHS = new Set("p h1 h2 h3 h4 h5 h6 blockquote pre table ul ol dl figure".split(" "));
/** Deepest nesting and most elements for which an article is looked for: Readability recurses and is quadratic. */
const ARTICLE_DEPTH = 200;
const ARTICLE_ELEMENTS = 50_000;
const ARTICLE_CHARACTERS = 2_000_000;
const ARTICLE_ATTRIBUTES = 1000;
/** Characters given to the parser at once. */
const PIECE = 1 << 20;

interface Walked {
  title: string | null;
  text: string;
  depth: number;
  elements: number;
  /** most attributes of an element */
  attributes: number;
}

/**
 * The text of an HTML page, read by a streaming parser: nothing runs and nothing is fetched. Hidden elements are
 * left out.
 *
 * @throws {DataError} too much text, or elements that are nested too deep
 */
export async function readHtml(html: string, source: string, options: ReadOptions = {}): Promise<ReadDocument> {
  const walked = await walk(html, source, options);
  const notes: string[] = [];
  let { text, title } = walked;
  if (options.article) {
    const large =
      html.length > ARTICLE_CHARACTERS ||
      walked.depth > ARTICLE_DEPTH ||
      walked.elements > ARTICLE_ELEMENTS ||
      walked.attributes > ARTICLE_ATTRIBUTES;
    const article = large ? null : await articleOf(html);
    if (article === null) notes.push(`${source}: no article was found in the page, so all of its text is used`);
    else {
      const own = await walk(article.content, source, options);
      [text, title] = [own.text, article.title ?? title];
    }
  }
  return { source, format: "html", title, pages: [{ page: null, text: cleanText(text) }], notes };
}

async function walk(html: string, source: string, { onProgress }: ReadOptions): Promise<Walked> {
  const { Parser } = await import("htmlparser2");
  const sink = new TextSink(source);
  let title: string | null = null;
  let heading = "";
  let inTitle = false;
  /** depth of the outermost hidden element; 0: none is open */
  let hiddenAt = 0;
  let [preformatted, depth, deepest, elements, attributed] = [0, 0, 0, 0, 0];
  /** newlines to write before the next text */
  let lines = 0;
  let begun = false;
  const newline = (count: number) => {
    lines = Math.max(lines, count);
  };
  const write = (text: string) => {
    if (lines > 0) {
      if (begun) sink.add("\n".repeat(lines));
      lines = 0;
    }
    begun = true;
    sink.add(text);
  };
  const parser = new Parser(
    {
      onopentag(name, attributes) {
        elements++;
        deepest = Math.max(deepest, checkDepth(++depth, source));
        attributed = Math.max(attributed, Object.keys(attributes).length);
        if (name === "title" && title === null) inTitle = true;
        // everything inside a hidden element is hidden, so only its own depth matters
        if (hiddenAt === 0 && (HIDDEN.has(name) || "hidden" in attributes)) hiddenAt = depth;
        if (hiddenAt > 0) return;
        if (name === "br") {
          lines++;
          return;
        }
        if (name === "pre") preformatted++;
        if (BLOCKS.has(name)) newline(PARAGRAPHS.has(name) ? 2 : 1);
        if (name === "li") write("- ");
        if ((name === "td" || name === "th") && begun && lines === 0 && sink.last !== "\n") write(" | ");
        if (name === "img" && attributes.alt) inline(` ${attributes.alt} `);
      },
      ontext(text) {
        if (inTitle) heading += text;
        else if (hiddenAt > 0) return;
        else if (preformatted > 0) write(text);
        else inline(text);
      },
      onclosetag(name) {
        depth--;
        if (name === "title" && inTitle) {
          inTitle = false;
          title = heading.replace(/\s+/g, " ").trim().slice(0, 300) || null;
        }
        if (hiddenAt > 0) {
          if (depth < hiddenAt) hiddenAt = 0;
          return;
        }
        if (BLOCKS.has(name)) newline(PARAGRAPHS.has(name) ? 2 : 1);
        if (name === "pre" && preformatted > 0) preformatted--;
      },
    },
    { decodeEntities: true, lowerCaseTags: true },
  );
  const inline = (text: string) => {
    let plain = text.replace(/\s+/g, " ");
    if (lines > 0 || !begun || sink.last === " " || sink.last === "\n") plain = plain.replace(/^ /, "");
    if (plain !== "") write(plain);
  };
  for (let at = 0; at < html.length; at += PIECE) {
    parser.write(html.slice(at, at + PIECE));
    onProgress?.(at, html.length);
  }
  parser.end();
  return { title, text: sink.take(), depth: deepest, elements, attributes: attributed };
}

/** The main article of a web page, as HTML; null if there is none. */
async function articleOf(html: string): Promise<{ content: string; title: string | null } | null> {
  const [{ parseHTML }, { Readability }] = await Promise.all([import("linkedom"), import("@mozilla/readability")]);
  const { document } = parseHTML(html);
  const article = new Readability(document as unknown as Document, { maxElemsToParse: ARTICLE_ELEMENTS }).parse();
  return article?.content ? { content: article.content, title: article.title?.trim() || null } : null;
}
