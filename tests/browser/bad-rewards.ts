/** A reward that misbehaves, and what the page must say about it. */
export interface BadReward {
  title: string;
  text: string;
  says: RegExp;
  /** it does so when the module is evaluated, so it does not load */
  loading?: true;
}

const body = (code: string) => `export async function bad(prompts, completions, columns, { step }) {
  if (step < 1) return completions.map(() => step);
  ${code}
}
`;

/** @param url of the site, which no reward may ask. Each behaves at step 0, so that a run has a checkpoint before. */
export function badRewards(url: string): BadReward[] {
  const outside = /bad failed on row 1 of \d+/;
  return [
    {
      title: "an endless loop",
      text: body("for (;;);"),
      says: /bad has not returned for \d+ completions within \d+ ms/,
    },
    {
      title: "throws for one row",
      text: body(
        'return completions.map((_, i) => { if (i === 2 || completions.length === 1) throw new Error("no answer"); return 1; });',
      ),
      says: /bad failed on row 1 of \d+ .*Error: no answer/s,
    },
    { title: "too few rewards", text: body("return [1, 2];"), says: /bad returned 2 rewards for \d+ completions/ },
    {
      title: "not a number",
      text: body("return completions.map((_, i) => (i === 2 ? 0 / 0 : 1));"),
      says: /bad returned NaN for row 3 of \d+/,
    },
    { title: "never settles", text: body("await new Promise(() => {});"), says: /bad has not returned for/ },
    { title: "asks the network", text: body(`await fetch("${url}stolen");`), says: outside },
    {
      title: "opens a socket",
      text: body(
        `await new Promise((_, reject) => { new WebSocket("${url.replace("http", "ws")}stolen").onerror = () => reject(new Error("the WebSocket failed")); });`,
      ),
      says: outside,
    },
    { title: "imports a script", text: body(`await import("${url}stolen.js");`), says: outside },
    { title: "touches the page", text: body("document.body.remove();"), says: outside },
    {
      title: "opens the site's storage",
      text: body(
        'await new Promise((done, reject) => { const asked = indexedDB.open("qwench-runs"); asked.onsuccess = done; asked.onerror = () => reject(asked.error); });',
      ),
      says: outside,
    },
    { title: "reads the origin's files", text: body("await navigator.storage.getDirectory();"), says: outside },
    { title: "reaches for its parent", text: body("parent.location = 'about:blank';"), says: outside },
    {
      title: "closes its thread",
      text: body("close(); await new Promise(() => {});"),
      says: /bad has not returned for/,
    },
    { title: "returns a function", text: body("return () => 1;"), says: /it returned something that is not numbers/ },
    {
      title: "changes built-in objects",
      text: body(
        "Array.prototype.map = MessagePort.prototype.postMessage = Array.from = Reflect.apply = undefined; return completions;",
      ),
      says: /bad returned .* for row 1 of/,
    },
    {
      title: "floods its page with messages",
      text: body("for (let i = 0; i < 20000; i++) postMessage({ type: 'ready', id: i }); return ['1'];"),
      says: /bad returned 1 rewards for/,
    },
    {
      title: "never loads",
      text: "for (;;);\nexport const bad = () => [];",
      says: /did not load within 5 s/,
      loading: true,
    },
    {
      title: "is not JavaScript",
      text: "export function good() {\n  return [1];\n}\nexport functoin bad() {}\n",
      says: /Line 4: .*SyntaxError/s,
      loading: true,
    },
  ];
}
