import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadPyodide } from "pyodide";
import { afterAll, beforeAll, expect, test } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { built, entry } from "../browser/dist.ts";
import { type Site, serve, useBrowser } from "../browser/harness.ts";
import { connect, load, update, widgetSite } from "../browser/widget-model.ts";
import { readNotebook } from "./notebook.ts";

// The notebook's Python in Pyodide, the widget in Chromium, and between them what anywidget would carry.
const web = useBrowser();
let site: Site;
let widget: string;
beforeAll(async () => {
  widget = String((await built("widget")).get(entry("./widget")));
  site = await serve(await widgetSite(widget), { policy: null });
});
afterAll(() => site.close());

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Python with a clone of the repository in its own file system, and the stand-ins for packages that pip would install. */
async function startPython() {
  const python = await loadPyodide({ env: { QWENCH_STEPS: "2", HOME: "/home" } });
  const copy = (from: string, to: string) => {
    python.FS.mkdirTree(to);
    for (const file of readdirSync(from, { withFileTypes: true })) {
      if (file.isDirectory()) copy(join(from, file.name), `${to}/${file.name}`);
      else python.FS.writeFile(`${to}/${file.name}`, readFileSync(join(from, file.name)));
    }
  };
  copy(here("standin"), "/packages");
  copy(here("../../assets/tiny"), "/clone/assets/tiny");
  python.FS.mkdirTree("/clone/demo/notebooks");
  python.FS.mkdirTree("/clone/dist");
  python.FS.writeFile("/clone/dist/widget.js", widget);
  python.FS.chdir("/clone/demo/notebooks");
  python.runPython(`import sys; sys.path.append("/packages")`);
  return python;
}

test("the Python notebook starts a job in the page, receives its metrics, and writes the adapter", async () => {
  const page = await web.open(site.url);
  const python = await startPython();
  let instance: { _front_end_updates(state: string): void; _front_end_sends(content: string, buffers: unknown): void };
  let sent = Promise.resolve();
  const toPage = (work: () => Promise<unknown>) => {
    sent = sent.then(async () => void (await work()));
  };
  python.registerJsModule("kernel", {
    open(esm: string, state: string, self: { copy(): typeof instance }) {
      expect(esm).toBe(widget);
      instance = self.copy();
      toPage(() => load(page, JSON.parse(state)));
    },
    show: () => toPage(() => page.evaluate(() => widgets.show())),
    update: (state: string) => toPage(() => update(page, JSON.parse(state))),
  });
  await connect(page, (message) => {
    if (message.method === "update") instance._front_end_updates(JSON.stringify(message.state));
    else
      instance._front_end_sends(
        JSON.stringify(message.content),
        python.toPy(message.buffers.map((bytes) => Uint8Array.from(bytes))),
      );
  });

  const printed: string[] = [];
  python.setStdout({ batched: (line) => printed.push(line) });
  const cells = readNotebook("python-widget.ipynb").filter(({ cell_type }) => cell_type === "code");
  const finished = cells.findIndex(({ id }) => id === "start") + 1;
  const run = async (source: string) => {
    const shown = python.runPython(source);
    shown?._repr_mimebundle_?.();
    await sent;
    return shown;
  };
  for (const { source } of cells.slice(0, finished)) await run(source);
  await expect.poll(() => python.runPython("[trainer.status, trainer.problem]").toJs()).toEqual(["finished", ""]);
  for (const { source } of cells.slice(finished, -1)) await run(source);
  expect(printed.join("\n")).toMatch(
    /^SFT: loss [\d.]+ at step 1, [\d.]+ at step 2\nGRPO: reward [\d.]+ at step 1, [\d.]+ at step 2\nsolved, before: \d+%\nsolved, after SFT: \d+%\nsolved, after GRPO: \d+%$/,
  );
  const written = (await run(cells.at(-1)!.source)).toJs();
  expect(written).toEqual([
    ...["1-sft.yaml", "2-grpo.yaml", "README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.jsonl"],
    ...["tokenizer.json", "tokenizer_config.json"],
  ]);
  const folder = memoryFolder();
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    await folder.write(name, python.FS.readFile(`/clone/demo/notebooks/qwench-adapter/${name}`));
  }
  expect((await readAdapter(folder)).config.r).toBe(16);
});
