import { DataError } from "../../errors.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { isObject } from "../../text/json.ts";
import { cleanText, type ReadDocument } from "./document.ts";

/** A cue's timing, as in WebVTT and SubRip: `00:01:02.500 --> 00:01:04,000 align:start`. */
const TIMING = /^\s*(\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s+-->\s+(\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}/;

const ENTITIES: Record<string, string> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&nbsp;": " ",
  "&lrm;": "",
  "&rlm;": "",
};

/**
 * The words of a transcript in WebVTT or SubRip, in YouTube's JSON3, or in its timed-text XML. Automatic captions repeat each
 * line while it scrolls; repeated lines are read once.
 *
 * @throws {DataError} the text has no cues
 */
export function readTranscript(text: string, source: string): ReadDocument {
  const lines = /^\s*\{/.test(text)
    ? jsonLines(text, source)
    : /^\s*<\?xml|^\s*<(transcript|timedtext)/.test(text)
      ? xmlLines(text)
      : cueLines(text);
  const words = cleanText(lines.join("\n"));
  if (words === "") throw new DataError(`Cannot read ${source} as a transcript: it has no cues`);
  return { source, format: "transcript", title: null, pages: [{ page: null, text: words }], notes: [] };
}

function cueLines(text: string): string[] {
  const found: string[] = [];
  let inCue = false;
  for (const raw of text.split(/\r\n?|\n/)) {
    if (TIMING.test(raw)) {
      inCue = true;
      continue;
    }
    if (raw.trim() === "") {
      // YouTube's automatic captions have a line of one space inside a cue
      if (raw === "") inCue = false;
      continue;
    }
    if (!inCue) continue;
    const line = raw
      .replace(/<[^<>]{0,80}>/g, "")
      .replace(/&\w{2,5};/g, (entity) => ENTITIES[entity] ?? entity)
      .replace(/\s+/g, " ")
      .trim();
    if (line !== "" && line !== found.at(-1) && line !== found.at(-2)) found.push(line);
  }
  return found;
}

function jsonLines(text: string, source: string): string[] {
  let parsed: unknown;
  try {
    parsed = parseBoundedJson(text);
  } catch {
    throw new DataError(`Cannot read ${source} as a transcript: it is not JSON`);
  }
  const events = isObject(parsed) && Array.isArray(parsed.events) ? parsed.events : [];
  const found: string[] = [];
  for (const event of events) {
    const segments = isObject(event) && Array.isArray(event.segs) ? event.segs : [];
    const line = segments.map((segment) => (isObject(segment) && typeof segment.utf8 === "string" ? segment.utf8 : ""));
    const joined = line.join("").replace(/\s+/g, " ").trim();
    if (joined !== "" && joined !== found.at(-1)) found.push(joined);
  }
  return found;
}

function xmlLines(text: string): string[] {
  const found: string[] = [];
  for (const [, cue] of text.matchAll(/<(?:text|p)\b[^<>]*>([\s\S]*?)<\/(?:text|p)>/g)) {
    const line = cue
      .replace(/<[^<>]*>/g, "")
      .replace(/&amp;/g, "&")
      .replace(/&#(\d{1,6});/g, (_, code) => String.fromCodePoint(Math.min(0x10ffff, Number(code))))
      .replace(/&\w{2,5};/g, (entity) => ENTITIES[entity] ?? (entity === "&quot;" ? '"' : entity))
      .replace(/\s+/g, " ")
      .trim();
    if (line !== "" && line !== found.at(-1)) found.push(line);
  }
  return found;
}
