import { DataError } from "../../errors.ts";
import { isObject } from "../../text/json.ts";

/** The video of a YouTube address, or null. */
export function videoOf(url: string): string | null {
  if (!URL.canParse(url)) return null;
  const { hostname, pathname, searchParams } = new URL(url);
  const host = hostname.replace(/^(www|m|music)\./, "");
  const id =
    host === "youtu.be"
      ? pathname.slice(1)
      : host === "youtube.com"
        ? (searchParams.get("v") ?? /^\/(?:shorts|embed|live)\/([\w-]+)/.exec(pathname)?.[1])
        : null;
  return id && /^[\w-]{6,20}$/.test(id) ? id : null;
}

/**
 * The address of a video's transcript as JSON3, from its page: captions written by people before automatic ones, English before
 * other languages.
 *
 * @throws {DataError} the page names none, or one at another site
 */
export function transcriptAddress(page: string, url: string): string {
  const found = /"captionTracks":(\[\{.{1,200000}?\}\])/.exec(page)?.[1];
  let tracks: unknown = [];
  try {
    tracks = JSON.parse(found ?? "[]");
  } catch {}
  const usable = (Array.isArray(tracks) ? tracks : []).filter(
    (track): track is { baseUrl: string; kind?: string; languageCode?: string } =>
      isObject(track) && typeof track.baseUrl === "string",
  );
  const rank = ({ kind, languageCode = "" }: { kind?: string; languageCode?: string }) =>
    (kind === "asr" ? 2 : 0) + (languageCode.startsWith("en") ? 0 : 1);
  const best = usable.sort((a, b) => rank(a) - rank(b))[0];
  if (!best) {
    throw new DataError(
      `Cannot read ${url}: its page names no transcript. Save the transcript as .vtt, .srt or .json3 and give that file`,
    );
  }
  const address = new URL(best.baseUrl, "https://www.youtube.com");
  if (!/(^|\.)youtube\.com$/.test(address.hostname) || address.protocol !== "https:") {
    throw new DataError(`Cannot read ${url}: its page names a transcript at ${address.origin}`);
  }
  address.searchParams.set("fmt", "json3");
  return address.href;
}
