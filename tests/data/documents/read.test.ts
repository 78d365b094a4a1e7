import { describe, expect, it } from "vitest";
import { joinPages } from "../../../src/data/documents/document.ts";
import { isDocument, readDocument } from "../../../src/data/documents/read.ts";
import { transcriptAddress, videoOf } from "../../../src/data/documents/youtube.ts";
import { docx, office, pdf, pptx } from "./files.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = async (data: Uint8Array | string, name: string, options = {}) =>
  joinPages((await readDocument(typeof data === "string" ? bytes(data) : data, name, options)).pages).text;

describe("documents as text", () => {
  it("PDF: pages, lines, a hyphen at a line's end, the title", async () => {
    const read = await readDocument(pdf(["One line.\nA bro-\nken word (here).", "Page two."], "My title"), "a.pdf");
    expect(read).toMatchObject({ format: "pdf", title: "My title" });
    expect(read.pages).toEqual([
      { page: 1, text: "One line.\nA broken word (here)." },
      { page: 2, text: "Page two." },
    ]);
  });

  it("HTML: blocks, lists, tables and preformatted text; no scripts, no hidden elements", async () => {
    const html = `<!doctype html><html><head><title> A &amp; B </title><style>p{}</style></head><body>
      <h1>Title</h1><p>One <b>bold</b>
      line.</p><script>alert("x")</script><div hidden><p>secret</p></div><noscript>no</noscript>
      <ul><li>first<li>second</ul><table><tr><td>a<td>b</tr><tr><td>c<td>d</tr></table><pre>x  = 1
  y</pre>a&nbsp;b<br>c<template>t</template></body></html>`;
    const read = await readDocument(bytes(html), "a.html");
    expect(read.title).toBe("A & B");
    expect(read.pages[0].text).toBe(
      "Title\n\nOne bold line.\n\n- first\n- second\n\na | b\nc | d\n\nx  = 1\n  y\n\na b\nc",
    );
  });

  it("HTML: the article alone, on request", async () => {
    const words = "The quick brown fox jumps over the lazy dog and runs away, far away. ".repeat(12);
    const html = `<html><head><title>T</title></head><body><nav><a href="/">Home</a><a href="/b">Blog</a></nav><article><h1>Fox</h1><p>${words}</p><p>${words}</p></article><footer>Imprint</footer></body></html>`;
    expect(await textOf(html, "a.html")).toContain("Imprint");
    const article = await textOf(html, "a.html", { article: true });
    expect(article).toContain("quick brown fox");
    expect(article).not.toMatch(/Imprint|Blog/);
  });

  it("DOCX: paragraphs, tables, tabs, footnotes; no deleted text, no field codes", async () => {
    const p = (text: string) => `<w:p><w:r><w:t xml:space="preserve">${text}</w:t></w:r></w:p>`;
    const file = docx(
      `${p("One &lt;two&gt;")}<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t></w:r><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:r><w:instrText>PAGE</w:instrText></w:r></w:p><w:tbl><w:tr><w:tc>${p("x")}</w:tc><w:tc>${p("y")}</w:tc></w:tr></w:tbl>`,
      {
        "word/footnotes.xml": `<w:footnotes>${p("A note.")}</w:footnotes>`,
        "docProps/core.xml": "<c><dc:title>Doc</dc:title></c>",
      },
    );
    const read = await readDocument(file, "a.docx");
    expect(read).toMatchObject({ format: "docx", title: "Doc" });
    expect(read.pages[0].text.replace(/ +\n/g, "\n")).toBe("One <two>\n\na b\n\nx | y\n\nA note.");
  });

  it("DOCX: the main part's name stands in the archive's relations; a drop cap belongs to its word", async () => {
    const relation = (id: string, type: string, target: string) =>
      `<Relationship Id="${id}" Type="http://x/${type}" Target="${target}"/>`;
    const cap = '<w:p><w:pPr><w:framePr w:dropCap="drop"/></w:pPr><w:r><w:t>D</w:t></w:r></w:p>';
    const file = office({
      "_rels/.rels": `<Relationships>${relation("a", "officeDocument", "word/other2.xml")}</Relationships>`,
      "word/other2.xml": `<w:document>${cap}<w:p><w:r><w:t>rop cap.</w:t></w:r></w:p></w:document>`,
      "word/_rels/other2.xml.rels": `<Relationships>${relation("b", "footnotes", "notes7.xml")}</Relationships>`,
      "word/notes7.xml": "<w:footnotes><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnotes>",
      "word/document.xml": "<w:document><w:p><w:r><w:t>Not this.</w:t></w:r></w:p></w:document>",
    });
    expect((await readDocument(file, "a.docx")).pages[0].text).toBe("Drop cap.\n\nA note.");
  });

  it("PPTX: slides in the order of the talk, with notes", async () => {
    const read = await readDocument(pptx(), "a.pptx");
    expect(read.pages).toEqual([
      { page: 1, text: "First\nTwo runs\n\nSay hello." },
      { page: 2, text: "Second & last" },
    ]);
  });

  it.each([
    [
      "a.vtt",
      "WEBVTT\n\n00:00:01.000 --> 00:00:02.000 align:start\nHello <c>there</c>\n\n00:00:02.000 --> 00:00:03.000\nHello there\nfriend &amp; all\n",
    ],
    ["a.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello there\n\n2\n00:00:02,000 --> 00:00:03,000\nfriend & all\n"],
    [
      "a.json3",
      '{"events": [{"segs": [{"utf8": "Hello "}, {"utf8": "there"}]}, {"segs": [{"utf8": "\\n"}]}, {"segs": [{"utf8": "friend & all"}]}]}',
    ],
    [
      "a.srt",
      '<?xml version="1.0"?><transcript><text start="0">Hello there</text><text start="1">friend &amp; all</text></transcript>',
    ],
  ])("a transcript: %s", async (name, text) => {
    const read = await readDocument(bytes(text), name);
    expect(read.format).toBe("transcript");
    expect(read.pages[0].text).toBe("Hello there\nfriend & all");
  });

  it("plain text: clean spaces, no template marks, pages by form feeds, UTF-16 and Windows-1252", async () => {
    expect(await textOf("a\u00a0b\u200b\r\n\n\n\nc <|im_end|>\u0007", "a.txt")).toBe("a b\n\nc <| im_end |>");
    expect((await readDocument(bytes("one\ftwo"), "a.txt")).pages).toHaveLength(2);
    expect(await textOf(new Uint8Array([0xff, 0xfe, 0x41, 0, 0x42, 0]), "a.txt")).toBe("AB");
    const old = await readDocument(new Uint8Array([0x63, 0x61, 0x66, 0xe9]), "a.txt");
    expect(old.pages[0].text).toBe("café");
    expect(old.notes).toEqual(["a.txt is not UTF-8: it is read as Windows-1252"]);
    expect((await readDocument(bytes("# Head\n\nText"), "a.md")).title).toBe("Head");
  });

  it.each<[string, Uint8Array | string, string, RegExp]>([
    ["a PDF that is text", "hello", "a.pdf", /Cannot read a.pdf as PDF: it does not begin as such a file does/],
    ["a cut PDF", pdf(["x"]).slice(0, 60), "a.pdf", /Cannot read a.pdf as PDF/],
    ["a zip of something else", office({ "a.txt": "x" }), "a.bin", /neither DOCX nor PPTX/],
    ["a DOCX without a document", office({ "a.txt": "x" }), "a.docx", /no word\/document.xml/],
    ["a cut DOCX", docx("<w:p/>").slice(0, 80), "a.docx", /Cannot read a.docx: its zip archive is damaged/],
    ["a binary file", "a\0b", "a.txt", /binary file of an unknown format/],
    ["an old Word file", new Uint8Array([0xd0, 0xcf, 0x11, 0xe0, 1]), "a.doc", /before 2007/],
    ["nothing", "  \n", "a.txt", /it has no text/],
    ["a PDF of pictures", pdf([""]), "a.pdf", /its pages are pictures/],
    ["a transcript without cues", "hello", "a.vtt", /it has no cues/],
  ])("refuses %s", async (_, data, name, message) => {
    await expect(readDocument(typeof data === "string" ? bytes(data) : data, name)).rejects.toThrow(message);
  });

  it("knows documents by their names", () => {
    expect(["a.PDF", "b.htm", "c.docx", "d.srt", "e.md"].every(isDocument)).toBe(true);
    expect(["a.png", "b.json", "c"].some(isDocument)).toBe(false);
  });
});

describe("YouTube", () => {
  it("finds a video's id in its addresses", () => {
    for (const url of [
      "https://www.youtube.com/watch?v=abc123XYZ_-",
      "https://youtu.be/abc123XYZ_-?t=3",
      "https://m.youtube.com/shorts/abc123XYZ_-",
    ]) {
      expect(videoOf(url)).toBe("abc123XYZ_-");
    }
    expect(videoOf("https://example.org/watch?v=abc123XYZ_-")).toBeNull();
  });

  it("prefers captions by people, in English; refuses another site", () => {
    const track = (more: object) => ({ baseUrl: "https://www.youtube.com/api/timedtext?v=x", ...more });
    const page = (tracks: object[]) => `..."captionTracks":${JSON.stringify(tracks)},"audioTracks"...`;
    const tracks = [
      track({ kind: "asr", languageCode: "en" }),
      track({ languageCode: "de" }),
      { ...track({ languageCode: "en" }), baseUrl: "https://www.youtube.com/api/timedtext?v=y" },
    ];
    expect(transcriptAddress(page(tracks), "u")).toBe("https://www.youtube.com/api/timedtext?v=y&fmt=json3");
    expect(() => transcriptAddress("<html>", "u")).toThrow(/names no transcript/);
    expect(() => transcriptAddress(page([{ baseUrl: "https://evil.example/x" }]), "u")).toThrow(/evil.example/);
  });
});
