import type { Page } from "puppeteer-core";
import { afterAll, beforeAll } from "vitest";
import { png, seeingModel } from "../images.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { makeTrainer, trainerSite } from "./trainer.ts";

export const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
export const stripes = png(40, 24, (x) => (x % 8 < 4 ? [20, 20, 60] : [240, 240, 200]));
export const QUESTION = "How many?";

/** A page with the real worker, whose global `seeing` is a tiny model with a vision tower. Call at the top of the file. */
export function useSeeingPage(): () => Page {
  const web = useBrowser({ keepPages: true });
  let site: Site;
  let page: Page;
  beforeAll(async () => {
    const files = await trainerSite(undefined, "tests/browser/pages/images.ts");
    const folder = await seeingModel();
    for (const name of await folder.list()) {
      const source = await folder.open(name);
      files.set(`seeing/${name}`, await source.read(0, source.size));
    }
    site = await serve(files);
    page = await web.open(site.url);
    await makeTrainer(page);
    await page.evaluate(
      async (names) => {
        const files = names.map(async (name) => new File([await (await fetch(`seeing/${name}`)).blob()], name));
        Object.assign(globalThis, { seeing: { kind: "files", name: "seeing", files: await Promise.all(files) } });
      },
      await folder.list(),
    );
  });
  afterAll(() => site.close());
  return () => page;
}

/** The answer of the model that sees to QUESTION and images, in the page. */
export function askPage(page: Page, images: readonly Uint8Array[]): Promise<string> {
  return page.evaluate(
    async (images, question) => {
      const model = (globalThis as unknown as { seeing: never }).seeing;
      const blobs = images.map((text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
      const messages = [{ role: "user" as const, content: question, images: blobs }];
      const request = { run: null, model, adapter: false, messages, temperature: 0, max_new_tokens: 8 };
      let text = "";
      for await (const event of trainer.chat(request)) if (event.type === "text") text += event.text;
      return text;
    },
    images.map(base64),
    QUESTION,
  );
}
