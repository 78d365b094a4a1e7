import { deflateRawSync, deflateSync } from "node:zlib";

// Hostile documents, for the attack and for the tests.

const bytes = (text: string) => new TextEncoder().encode(text);

/** A zip archive with one entry whose declared size is `declared`. */
function zip(name: string, content: Uint8Array, declared = content.length): Uint8Array {
  const packed = deflateRawSync(content, { level: 9 });
  const file = Buffer.alloc(30 + name.length + packed.length);
  file.writeUInt32LE(0x04034b50, 0);
  file.writeUInt16LE(20, 4);
  file.writeUInt16LE(8, 8);
  file.writeUInt32LE(packed.length, 18);
  file.writeUInt32LE(declared >>> 0, 22);
  file.writeUInt16LE(name.length, 26);
  file.write(name, 30);
  packed.copy(file, 30 + name.length);
  const entry = Buffer.alloc(46 + name.length);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(20, 6);
  entry.writeUInt16LE(8, 10);
  entry.writeUInt32LE(packed.length, 20);
  entry.writeUInt32LE(declared >>> 0, 24);
  entry.writeUInt16LE(name.length, 28);
  entry.write(name, 46);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(entry.length, 12);
  end.writeUInt32LE(file.length, 16);
  return new Uint8Array(Buffer.concat([file, entry, end]));
}

/** A PDF whose only page has this content stream and these further objects. */
function pdf(content: string, more: string[] = [], catalog = ""): Uint8Array {
  const objects = [
    `<< /Type /Catalog /Pages 2 0 R ${catalog} >>`,
    "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> /XObject << /X 6 0 R >> >> >>",
    `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ...more,
  ];
  let text = "%PDF-1.7\n";
  const table = objects.map((object, i) => {
    const at = text.length;
    text += `${i + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(at).padStart(10, "0")} 00000 n \n`;
  });
  const size = objects.length + 1;
  return bytes(
    `${text}xref\n0 ${size}\n0000000000 65535 f \n${table.join("")}trailer\n<< /Size ${size} /Root 1 0 R >>\nstartxref\n${text.length}\n%%EOF\n`,
  );
}

/** A PDF whose page's content stream unpacks to `size` bytes, by `layers` of Flate. */
function flateBomb(size: number, layers: number): Uint8Array {
  let content: Uint8Array = new Uint8Array(size).fill(0x20);
  for (let i = 0; i < layers; i++) content = deflateSync(content, { level: 9 });
  const filters = "/FlateDecode ".repeat(layers);
  const latin = Buffer.from(content).toString("latin1");
  const head = `%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>\nendobj\n4 0 obj\n<< /Length ${latin.length} /Filter [${filters}] >>\nstream\n`;
  return new Uint8Array(
    Buffer.from(`${head}${latin}\nendstream\nendobj\ntrailer\n<< /Root 1 0 R /Size 5 >>\n%%EOF`, "latin1"),
  );
}

/** {@link zip} whose entry declares 10 GB in a zip64 field. */
function zip64(name: string): Uint8Array {
  const plain = Buffer.from(zip(name, bytes("<w:document/>"), 0xffffffff));
  const at = plain.lastIndexOf("PK\u0001\u0002", undefined, "latin1");
  const extra = Buffer.alloc(12);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(8, 2);
  extra.writeBigUInt64LE(10_000_000_000n, 4);
  plain.writeUInt16LE(extra.length, at + 30);
  const end = plain.length - 22;
  plain.writeUInt32LE(end - at + extra.length, end + 12);
  return new Uint8Array(Buffer.concat([plain.subarray(0, end), extra, plain.subarray(end)]));
}

const shown = "BT /F1 12 Tf 72 720 Td (Some text) Tj ET";
const doc = "word/document.xml";
const w = (body: string) => bytes(`<w:document><w:body>${body}</w:body></w:document>`);
const lol = `<!DOCTYPE x [${Array.from({ length: 20 }, (_, i) => `<!ENTITY e${i + 1} "${`&e${i};`.repeat(10)}">`).join("")}]>`;

/** Name, bytes, and what must come: text, an error, or either. */
export const CASES: readonly (readonly [name: string, data: () => Uint8Array, wanted: "text" | "error" | "either"])[] =
  [
    [
      "script.pdf",
      () => pdf(shown, ["<< /Type /XObject >>"], "/OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >>"),
      "text",
    ],
    ["launch.pdf", () => pdf(shown, ["<< /Type /XObject >>"], "/OpenAction << /S /Launch /F (/bin/sh) >>"), "text"],
    [
      "form-loop.pdf",
      () => {
        const c = "/X Do BT /F1 12 Tf (a) Tj ET";
        return pdf(c, [
          `<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >> /Length ${c.length} >>\nstream\n${c}\nendstream`,
        ]);
      },
      "either",
    ],
    [
      "page-loop.pdf",
      () =>
        bytes(
          "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [2 0 R] /Count 9999999 >>\nendobj\ntrailer\n<< /Root 1 0 R /Size 3 >>\n%%EOF",
        ),
      "error",
    ],
    [
      "many-pages.pdf",
      () =>
        bytes(
          "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 2000000000 >>\nendobj\ntrailer\n<< /Root 1 0 R /Size 3 >>\n%%EOF",
        ),
      "error",
    ],
    ["operators.pdf", () => pdf(`${"q ".repeat(2_000_000)}${shown}`), "either"],
    ["nested.pdf", () => pdf(`${"[".repeat(500_000)}${shown}`), "either"],
    ["noise.pdf", () => bytes(`%PDF-1.4\n${"obj endobj stream ".repeat(200_000)}`), "error"],
    ["flate-bomb.pdf", () => flateBomb(1_000_000_000, 2), "either"],
    ["dictionaries.pdf", () => pdf(shown, [`${"<< /A ".repeat(200_000)}`]), "either"],
    ["zip64-10gb.docx", () => zip64(doc), "error"],
    ["bomb.pptx", () => zip("ppt/presentation.xml", new Uint8Array(300_000_000)), "error"],
    ["bomb.docx", () => zip(doc, new Uint8Array(300_000_000)), "error"],
    ["declared-4gb.docx", () => zip(doc, w("<w:p/>"), 0xfffffff0), "error"],
    [
      "declared-small.docx",
      () => zip(doc, w(`<w:p><w:r><w:t>${"a".repeat(50_000_000)}</w:t></w:r></w:p>`), 100),
      "either",
    ],
    ["path.docx", () => zip("../../../../tmp/qwench-evil", bytes("x")), "error"],
    [
      "entities.docx",
      () => zip(doc, bytes(`${lol}<w:document><w:p><w:r><w:t>&e20; ok</w:t></w:r></w:p></w:document>`)),
      "text",
    ],
    [
      "external.docx",
      () =>
        zip(
          doc,
          bytes(
            '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><w:document><w:p><w:r><w:t>&f; ok</w:t></w:r></w:p></w:document>',
          ),
        ),
      "text",
    ],
    ["deep.docx", () => zip(doc, bytes("<w:tbl><w:tr><w:tc>".repeat(400_000))), "either"],
    ["deep.html", () => bytes(`<p>ok${"<div>".repeat(1_000_000)}`), "error"],
    ["100mb.html", () => bytes("<b>".repeat(33_000_000)), "error"],
    ["100mb-open.html", () => bytes("<a ".repeat(33_000_000)), "either"],
    [
      "script.html",
      () =>
        bytes(
          '<p>ok</p><script>process.exit(3)</script><img src=x onerror="process.exit(3)"><iframe src="file:///etc/passwd"></iframe>',
        ),
      "text",
    ],
    ["entities.html", () => bytes(`<p>ok ${"&amp;#x26;&#x110000;&#0;&notanentity;".repeat(200_000)}</p>`), "text"],
    [
      "attributes.html",
      () => bytes(`<p>ok<b ${Array.from({ length: 300_000 }, (_, i) => `a${i}=b`).join(" ")}>x</b></p>`),
      "text",
    ],
    ["comment.html", () => bytes(`<p>ok</p>${"<!--".repeat(1_000_000)}`), "text"],
    [
      "cues.vtt",
      () => bytes(`WEBVTT\n\n${"00:00:01.000 --> 00:00:02.000\nok <<<<<<<<<<\n\n".repeat(100_000)}`),
      "text",
    ],
    ["huge.txt", () => new Uint8Array(70_000_000).fill(0x61), "error"],
  ];
