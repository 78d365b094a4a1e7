// The service worker of the built page: it works offline, and never serves code of an older build to a page that could be
// newer. The build writes BUILD and FILES (names with the SHA-256 of what belongs to it) above this line.
//
// - The page itself comes from the network, and from the cache only without one.
// - Files whose names have a hash never change, so the cache comes first.
// - All others (the embedded model, Python) come from the network, and from the cache only without one.
// - Only a whole build is kept: a file with other bytes than the build's ends the installation, and the older one stays.
/* global BUILD, FILES */

const CACHE = `qwench-${BUILD}`;
const HASHED = /-[\w-]{8}\.\w+$/;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(tidy()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const here = new URL(self.registration.scope);
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== here.origin || !url.pathname.startsWith(here.pathname)) return;
  if (request.headers.has("range")) return;
  const name = url.pathname.slice(here.pathname.length) || "index.html";
  if (request.mode !== "navigate" && !(name in FILES) && !name.startsWith("python/")) return;
  event.respondWith(HASHED.test(name) ? cacheFirst(request, name) : networkFirst(request, name));
});

async function install() {
  const cache = await caches.open(CACHE);
  for (const [name, hash] of Object.entries(FILES)) {
    const answer = await fetch(name, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`${name}: the server answered ${answer.status}`);
    const bytes = await answer.clone().arrayBuffer();
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hex = Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== hash) throw new Error(`${name} is of another build`);
    await cache.put(name, answer);
  }
}

/** Runs when no page of the older build is open any more. */
async function tidy() {
  for (const name of await caches.keys()) if (name.startsWith("qwench-") && name !== CACHE) await caches.delete(name);
}

async function cacheFirst(request, name) {
  return (await kept(name)) ?? fetch(request);
}

async function networkFirst(request, name) {
  try {
    const answer = await fetch(new Request(request, { cache: "no-cache" })); // a server's word, not an old copy
    // Python is not part of the build's list, because few runs need its 12 MB
    if (answer.ok && name.startsWith("python/")) await (await caches.open(CACHE)).put(name, answer.clone());
    return answer;
  } catch (error) {
    const answer = await kept(request.mode === "navigate" && !(name in FILES) ? "index.html" : name);
    if (answer) return answer;
    throw error;
  }
}

async function kept(name) {
  return (await caches.open(CACHE)).match(name);
}
