import { zipSync } from "fflate";

const utf8 = new TextEncoder();

/** A DOCX or PPTX file of the given parts. */
export function office(parts: Record<string, string>): Uint8Array {
  return zipSync(Object.fromEntries(Object.entries(parts).map(([name, text]) => [name, utf8.encode(text)])));
}

const w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"';

export const docx = (body: string, more: Record<string, string> = {}): Uint8Array =>
  office({
    "word/document.xml": `<?xml version="1.0"?><w:document ${w}><w:body>${body}</w:body></w:document>`,
    ...more,
  });

/** A presentation whose slides are listed in the order 2, 1. */
export const pptx = (): Uint8Array =>
  office({
    "ppt/presentation.xml":
      '<p:presentation><p:sldIdLst><p:sldId id="1" r:id="rB"/><p:sldId id="2" r:id="rA"/></p:sldIdLst></p:presentation>',
    "ppt/_rels/presentation.xml.rels":
      '<Relationships><Relationship Id="rA" Type="x/slide" Target="slides/slide1.xml"/><Relationship Id="rB" Type="x/slide" Target="/ppt/slides/slide2.xml"/></Relationships>',
    "ppt/slides/slide1.xml": slide("Second &amp; last"),
    "ppt/slides/slide2.xml": slide("First", "Two runs").replace(
      "</p:sld>",
      '<p:sp><p:ph type="sldNum"/><a:p><a:r><a:t>1</a:t></a:r></a:p></p:sp></p:sld>', // the slide's number is no text
    ),
    "ppt/slides/_rels/slide2.xml.rels":
      '<Relationships><Relationship Id="n" Type="http://x/notesSlide" Target="../notesSlides/notesSlide1.xml"/></Relationships>',
    "ppt/notesSlides/notesSlide1.xml": `<p:notes><p:sp><a:p><a:r><a:t>Say hello.</a:t></a:r></a:p></p:sp><p:sp><p:ph type="sldNum"/><a:p><a:r><a:t>2</a:t></a:r></a:p></p:sp></p:notes>`,
  });

const slide = (...lines: string[]) =>
  `<p:sld><p:sp>${lines.map((line) => `<a:p><a:r><a:t>${line}</a:t></a:r></a:p>`).join("")}</p:sp></p:sld>`;

/** A PDF with a text per page; lines are separated by newlines. */
export function pdf(pages: readonly string[], title = "Test"): Uint8Array {
  const objects: string[] = [];
  const font = 3 + 2 * pages.length;
  objects.push("<< /Type /Catalog /Pages 2 0 R >>");
  objects.push(
    `<< /Type /Pages /Kids [${pages.map((_, i) => `${3 + 2 * i} 0 R`).join(" ")}] /Count ${pages.length} >>`,
  );
  for (const [i, page] of pages.entries()) {
    const lines = page.split("\n").map((line) => `(${line.replace(/[\\()]/g, "\\$&")}) Tj T*`);
    const content = `BT /F1 12 Tf 72 720 Td 14 TL ${lines.join(" ")} ET`;
    objects.push(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents ${4 + 2 * i} 0 R /Resources << /Font << /F1 ${font} 0 R >> >> >>`,
    );
    objects.push(`<< /Length ${content.length} >>\nstream\n${content}\nendstream`);
  }
  objects.push("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", `<< /Title (${title}) >>`);
  let text = "%PDF-1.4\n";
  const offsets = objects.map((object, i) => {
    const at = text.length;
    text += `${i + 1} 0 obj\n${object}\nendobj\n`;
    return at;
  });
  const table = offsets.map((at) => `${String(at).padStart(10, "0")} 00000 n \n`).join("");
  const size = objects.length + 1;
  return utf8.encode(
    `${text}xref\n0 ${size}\n0000000000 65535 f \n${table}trailer\n<< /Size ${size} /Root 1 0 R /Info ${objects.length} 0 R >>\nstartxref\n${text.length}\n%%EOF\n`,
  );
}
