import { DataError } from "../../errors.ts";
import { messageOf } from "../../text/show.ts";
import { checkZip } from "../../text/zip-check.ts";
import { checkDepth, cleanText, type DocumentPage, type ReadDocument, TextSink } from "./document.ts";

/** Most bytes of one XML part, and of all parts together, once unpacked: a larger one is a zip bomb, not a document. */
const MOST_PART = 100_000_000;
const MOST_PARTS = 200_000_000;
/** Most slides of a presentation. */
const MOST_SLIDES = 10_000;

/** XML parts of an Office Open XML file, by name. */
type Parts = Map<string, string>;

/**
 * Unpacks the wanted XML parts of a DOCX or PPTX file.
 *
 * @throws {DataError} the archive is damaged, or a part unpacks to more than the limit
 */
async function unpack(bytes: Uint8Array, source: string, wanted: (name: string) => boolean): Promise<Parts> {
  const { unzipSync } = await import("fflate");
  const refuse = (why: string) => new DataError(`Cannot read ${source}: ${why}`);
  let total = 0;
  try {
    checkZip(bytes);
  } catch (error) {
    throw refuse(`its zip archive is damaged: ${messageOf(error)}`);
  }
  let files: Record<string, Uint8Array>;
  try {
    files = unzipSync(bytes, {
      filter({ name, originalSize }) {
        if (!wanted(name)) return false;
        total += originalSize;
        if (originalSize > MOST_PART || total > MOST_PARTS) {
          throw refuse(`${name} unpacks to ${originalSize} bytes; at most ${MOST_PART} are allowed (a zip bomb?)`);
        }
        return true;
      },
    });
  } catch (error) {
    throw error instanceof DataError ? error : refuse(`its zip archive is damaged: ${messageOf(error)}`);
  }
  return new Map(Object.entries(files).map(([name, data]) => [name, new TextDecoder().decode(data)]));
}

/** Calls handlers for the elements of an XML text. Entities other than XML's own stay as written: no DTD is read. */
async function walkXml(
  xml: string,
  source: string,
  handlers: {
    open?(name: string, attributes: Record<string, string>): void;
    text?(text: string): void;
    close?(name: string): void;
  },
): Promise<void> {
  const { Parser } = await import("htmlparser2");
  let depth = 0;
  const parser = new Parser(
    {
      onopentag(name, attributes) {
        checkDepth(++depth, source);
        handlers.open?.(name, attributes);
      },
      ontext: (text) => handlers.text?.(text),
      onclosetag(name) {
        depth--;
        handlers.close?.(name);
      },
    },
    { xmlMode: true, decodeEntities: true },
  );
  parser.write(xml);
  parser.end();
}

/** The text of a Word document: paragraphs, tables with ` | ` between cells, footnotes at the end. */
export async function readDocx(bytes: Uint8Array, source: string): Promise<ReadDocument> {
  const names = /(^|\/)_rels\/[^/]*\.rels$|^docProps\/core\.xml$/;
  const facts = await unpack(bytes, source, (name) => names.test(name));
  const main = await mainPart(facts, source, "word/document.xml");
  const notes = await relations(facts.get(relationsOf(main)), source);
  const named = [...notes.values()].filter(({ type }) => /\/(footnotes|endnotes)$/.test(type));
  const targets =
    notes.size > 0
      ? named
          .map(({ target }) => target)
          .sort()
          .reverse()
      : ["footnotes.xml", "endnotes.xml"];
  const wanted = [main, ...targets.map((target) => partName(folderOf(main), target))];
  const parts = await unpack(bytes, source, (name) => wanted.includes(name));
  if (!parts.has(main)) throw new DataError(`Cannot read ${source} as DOCX: it has no ${main}`);
  const texts: string[] = [];
  for (const name of wanted) {
    const xml = parts.get(name);
    if (xml !== undefined) texts.push(await wordText(xml, source));
  }
  const text = cleanText(texts.join("\n\n"));
  return { source, format: "docx", title: await titleOf(facts, source), pages: [{ page: null, text }], notes: [] };
}

/** Elements whose text Word does not show: deleted text, field codes, the older copy of a drawing. */
const UNSHOWN = new Set(["w:del", "w:moveFrom", "w:instrText", "w:delText", "mc:Fallback"]);

async function wordText(xml: string, source: string): Promise<string> {
  const sink = new TextSink(source);
  let [inText, unshown, cells] = [false, 0, 0];
  /** open tables */
  let tables = 0;
  /** the paragraph is the large first letter of the next one */
  let dropCap = false;
  await walkXml(xml, source, {
    open(name, attributes) {
      if (UNSHOWN.has(name)) unshown++;
      if (name === "w:framePr" && /^(drop|margin)$/.test(attributes["w:dropCap"] ?? "")) dropCap = true;
      if (name === "w:tbl") tables++;
      if (name === "w:tr") cells = 0;
      if (name === "w:tc" && cells++ > 0) sink.add(" | ");
      if (unshown > 0) return;
      if (name === "w:t") inText = true;
      else if (name === "w:tab") sink.add(" ");
      else if (name === "w:br" || name === "w:cr") sink.add("\n");
      else if (name === "w:noBreakHyphen") sink.add("-");
    },
    text(text) {
      if (inText && unshown === 0) sink.add(text);
    },
    close(name) {
      if (UNSHOWN.has(name)) unshown--;
      if (name === "w:t") inText = false;
      if (name === "w:tbl") tables--;
      if (name === "w:p") {
        if (!dropCap) sink.add(tables > 0 ? " " : "\n\n");
        dropCap = false;
      }
      if (name === "w:tr") sink.add("\n");
    },
  });
  return sink.take().replace(/ {2,}/g, " ");
}

async function titleOf(parts: Parts, source: string): Promise<string | null> {
  const xml = parts.get("docProps/core.xml");
  let [inside, title] = [false, ""];
  if (xml) {
    await walkXml(xml, source, {
      open: (name) => void (inside = name === "dc:title"),
      text: (text) => void (inside && (title += text)),
      close: () => void (inside = false),
    });
  }
  return title.replace(/\s+/g, " ").trim().slice(0, 300) || null;
}

const SLIDE_PARTS =
  /^(_rels\/\.rels|ppt\/([^/]+\.xml|_rels\/[^/]+\.rels|(slides|notesSlides)\/[^/]+\.xml|slides\/_rels\/[^/]+\.rels)|docProps\/core\.xml)$/;

/** The text of a presentation, one page per slide in the order of the talk, with the speaker's notes after the slide. */
export async function readPptx(bytes: Uint8Array, source: string): Promise<ReadDocument> {
  const parts = await unpack(bytes, source, (name) => SLIDE_PARTS.test(name));
  const name = await mainPart(parts, source, "ppt/presentation.xml");
  const main = parts.get(name);
  if (main === undefined) throw new DataError(`Cannot read ${source} as PPTX: it has no ${name}`);
  const targets = await relations(parts.get(relationsOf(name)), source);
  const order: string[] = [];
  await walkXml(main, source, {
    open(name, attributes) {
      const target = name === "p:sldId" ? targets.get(attributes["r:id"])?.target : undefined;
      if (target !== undefined) order.push(partName("ppt", target));
    },
  });
  if (order.length > MOST_SLIDES) {
    throw new DataError(`Cannot read ${source}: it has ${order.length} slides; at most ${MOST_SLIDES} are read`);
  }
  const pages: DocumentPage[] = [];
  for (const [i, name] of order.entries()) {
    const xml = parts.get(name);
    if (xml === undefined) continue;
    const own = await relations(parts.get(name.replace(/slides\/([^/]+)$/, "slides/_rels/$1.rels")), source);
    const notes = [...own.values()].find(({ type }) => type.endsWith("/notesSlide"));
    const said = notes ? parts.get(partName("ppt/slides", notes.target)) : undefined;
    const texts = [await slideText(xml, source), said === undefined ? "" : await slideText(said, source)];
    pages.push({ page: i + 1, text: cleanText(texts.join("\n\n")) });
  }
  return { source, format: "pptx", title: await titleOf(parts, source), pages, notes: [] };
}

/** The text of a slide or of its notes, without the slide's number. */
async function slideText(xml: string, source: string): Promise<string> {
  const sink = new TextSink(source);
  let [inText, number, cells, fallback] = [false, false, 0, 0];
  let table = false;
  await walkXml(xml, source, {
    open(name, attributes) {
      if (name === "mc:Fallback") fallback++;
      if (name === "p:sp") number = false;
      if (name === "p:ph" && attributes.type === "sldNum") number = true;
      if (name === "a:tbl") table = true;
      if (name === "a:tr") cells = 0;
      if (name === "a:tc" && cells++ > 0) sink.add(" | ");
      if (name === "a:t") inText = true;
      if (name === "a:br") sink.add("\n");
      if (name === "a:tab") sink.add(" ");
    },
    text(text) {
      if (inText && !number && fallback === 0) sink.add(text);
    },
    close(name) {
      if (name === "mc:Fallback") fallback--;
      if (name === "a:t") inText = false;
      if (name === "a:tbl") table = false;
      if (name === "a:p") sink.add(table ? " " : "\n");
      if (name === "a:tr" || name === "p:sp") sink.add("\n");
    },
  });
  return sink.take();
}

/** The part that holds the document: another name than usual stands in the archive's own relations. */
async function mainPart(parts: Parts, source: string, usual: string): Promise<string> {
  const all = await relations(parts.get("_rels/.rels"), source);
  const main = [...all.values()].find(({ type }) => type.endsWith("/officeDocument"));
  return main ? partName("", main.target) : usual;
}

const folderOf = (part: string) => part.slice(0, Math.max(0, part.lastIndexOf("/")));

/** The name of a part's relations. */
function relationsOf(part: string): string {
  return part.replace(/([^/]*)$/, "_rels/$1.rels");
}

/** A part's relations by id. */
async function relations(
  xml: string | undefined,
  source: string,
): Promise<Map<string, { target: string; type: string }>> {
  const found = new Map<string, { target: string; type: string }>();
  if (xml === undefined) return found;
  await walkXml(xml, source, {
    open(name, { Id, Target, Type = "" }) {
      if (name === "Relationship" && Id !== undefined && Target !== undefined)
        found.set(Id, { target: Target, type: Type });
    },
  });
  return found;
}

/** The name of a part: a target is relative to a folder of the archive, or absolute in it. */
function partName(folder: string, target: string): string {
  if (target.startsWith("/")) return target.slice(1);
  const names = folder === "" ? [] : folder.split("/");
  for (const name of target.split("/")) {
    if (name === "..") names.pop();
    else if (name !== ".") names.push(name);
  }
  return names.join("/");
}
