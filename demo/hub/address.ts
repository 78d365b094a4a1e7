/** A model on the hub. */
interface HubModel {
  id: string;
  revision: string | null;
}

const HOSTS = ["huggingface.co", "www.huggingface.co", "hf.co"];
/** Parts of the hub's addresses that aren't owners. */
const NOT_OWNERS = new Set(["datasets", "spaces", "collections", "models", "docs", "settings", "papers", "blog"]);

/**
 * A model's id and revision from what a user types or pastes: `owner/name`, `owner/name@revision`, or the address of any page
 * or file of the model. Other text is returned as the id, so that the hub's own rule for ids tells what is wrong.
 */
export function hubModel(text: string): HubModel {
  const plain = text.trim().replace(/^hf:\/\//, "https://hf.co/");
  const path = pathOf(plain);
  if (path === null) {
    const [, id, revision] = /^([^@\s]+)@([^@\s]+)$/.exec(plain) ?? [];
    return id ? { id, revision } : { id: plain, revision: null };
  }
  const [owner = "", name = "", kind, revision] = path;
  if (NOT_OWNERS.has(owner) || name === "") return { id: plain, revision: null };
  const named = kind && ["tree", "blob", "resolve", "raw", "commit", "commits"].includes(kind) ? revision : undefined;
  return { id: `${owner}/${name}`, revision: named && named !== "main" ? named : null };
}

/** The parts of a hub address's path; null if the text is not such an address. */
function pathOf(text: string): string[] | null {
  const full = /^[\w.-]+\.co\//.test(text) ? `https://${text}` : text;
  if (!/^https?:\/\//.test(full) || !URL.canParse(full)) return null;
  const { hostname, pathname } = new URL(full);
  return HOSTS.includes(hostname) ? pathname.split("/").filter(Boolean).map(decodeURIComponent) : null;
}
