/** The file beside the page that holds the sandbox. */
export const FRAME_FILE = "reward-sandbox.html";

/**
 * The frame's own script. Its page gives it one port; over the port the page asks for workers, and ends them. A worker's program
 * comes from a blob of the frame, so that it has the frame's opaque origin and policy.
 */
export const FRAME_SCRIPT = `"use strict";
addEventListener("message", ({ ports: [control], source }) => {
  if (source !== parent || !control) return;
  const workers = new Map();
  const end = (id) => {
    workers.get(id)?.terminate();
    workers.delete(id);
  };
  const blob = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  control.onmessage = ({ data: { type, id, program, text }, ports }) => {
    if (type === "end") return end(id);
    const url = blob(program);
    const worker = new Worker(url, { name: "reward" });
    workers.set(id, worker);
    worker.onerror = (event) => {
      event.preventDefault();
      control.postMessage({ type: "died", id, message: event.message || "its thread did not start", line: event.lineno || null });
      end(id);
    };
    worker.postMessage(text, ports);
  };
  control.postMessage({ type: "ready" });
}, { once: true });`;

/**
 * The sandbox's document. The page shows it with sandbox="allow-scripts": an origin of its own without storage. Its policy allows
 * one script by its hash, and workers from blobs: no network, no other scripts, no frames.
 *
 * @param hash of `FRAME_SCRIPT`, as sha256-…
 */
export function frameDocument(hash: string): string {
  const policy = `default-src 'none'; script-src '${hash}' blob:; worker-src blob:; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="referrer" content="no-referrer">
<title>Sandbox of reward functions</title>
<script>${FRAME_SCRIPT}</script>
</head>
</html>
`;
}
