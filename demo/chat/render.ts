import DOMPurify from "dompurify";
import katex from "katex";
import { Marked, type RendererExtension, type TokenizerExtension } from "marked";

/** Tags and attributes of Markdown and MathML that an answer may become. No images, styles, forms or frames. */
const TAGS =
  "p br strong em del code pre ul ol li blockquote h1 h2 h3 h4 h5 h6 hr a table thead tbody tr th td span " +
  "math mrow mi mo mn ms mtext mspace msup msub msubsup mfrac msqrt mroot mover munder munderover mtable mtr mtd mstyle " +
  "mpadded mphantom menclose mmultiscripts mprescripts";
const ATTRIBUTES =
  "href title align start display mathvariant stretchy fence separator lspace rspace accent accentunder displaystyle " +
  "scriptlevel columnalign rowspacing columnspacing minsize maxsize linethickness width height depth voffset notation";

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** TeX as MathML, which needs neither fonts nor styles; TeX that cannot be read stays text. */
function mathOf(tex: string, displayMode: boolean): string {
  try {
    const html = katex.renderToString(tex, {
      output: "mathml",
      displayMode,
      throwOnError: true,
      strict: "ignore",
      maxSize: 20,
    });
    return html.replace(/<annotation[^>]*>[\s\S]*?<\/annotation>/g, "");
  } catch {
    return `<code>${escaped(tex)}</code>`;
  }
}

type Extension = TokenizerExtension & RendererExtension;

/** A kind of formula. @param pattern at the start of a text; its first group is the TeX */
function formula(name: string, begins: RegExp, pattern: RegExp, display: boolean): Extension {
  return {
    name,
    level: "inline",
    start: (text) => {
      const at = text.search(begins);
      return at < 0 ? undefined : at;
    },
    tokenizer(text) {
      const found = pattern.exec(text);
      return found ? { type: name, raw: found[0], tex: found[1] } : undefined;
    },
    renderer: (token) => mathOf(token.tex as string, display),
  };
}

const FORMULAS: Extension[] = [
  formula(
    "display",
    /\$\$|\\\[/,
    /^(?:\$\$(?=[\s\S]{1,4000}?\$\$)|\\\[(?=[\s\S]{1,4000}?\\\]))([\s\S]+?)(?:\$\$|\\\])/,
    true,
  ),
  // as in Pandoc: "$5 and $6" is no formula
  formula("dollars", /\$/, /^\$(?![\s$])((?:\\.|[^$\n\\])+?)(?<!\s)\$(?!\d)/, false),
  formula("brackets", /\\\(/, /^\\\(([^\n]+?)\\\)/, false),
  formula("boxed", /\\boxed/, /^(\\boxed\{(?:[^{}\n]|\{[^{}\n]*\})*\})/, false),
];

const markdown = new Marked({ gfm: true, breaks: true, async: false });
markdown.use({
  extensions: FORMULAS,
  // tags such as <answer> are the model's own text, not HTML
  tokenizer: { html: () => undefined, tag: () => undefined },
  renderer: { image: ({ text, href }) => escaped(`${text} (${href})`) },
});

const purify = DOMPurify(window);
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  if (!/^https?:\/\//i.test(node.getAttribute("href") ?? "")) node.removeAttribute("href");
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

/** An answer's Markdown and LaTeX as elements. Nothing in it runs, loads or is styled. */
export function rendered(text: string): DocumentFragment {
  const html = markdown.parse(text) as string;
  return purify.sanitize(html, {
    ALLOWED_TAGS: TAGS.split(" "),
    ALLOWED_ATTR: ATTRIBUTES.split(" "),
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
}
