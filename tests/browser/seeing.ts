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
