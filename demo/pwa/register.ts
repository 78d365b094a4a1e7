/** Milliseconds after the page has loaded: its own files come first. */
const LATER = 4000;

/**
 * Keeps the page's files for visits without a network. Only the built page has the service worker and a manifest;
 * without them, or in a context that is not secure, nothing happens.
 */
export function keepOffline(): void {
  if (!document.querySelector('link[rel="manifest"]') || !("serviceWorker" in navigator)) return;
  setTimeout(() => {
    const address = new URL("service-worker.js", document.baseURI);
    navigator.serviceWorker.register(address, { updateViaCache: "none" }).catch(() => {
      // a host that does not serve the file, or a browser that forbids it: the page works online
    });
  }, LATER);
}
