import type { Page } from "puppeteer-core";
import { bundle, type SiteFiles } from "./site.ts";

/** What a widget tells its kernel: traits that changed, or a message. */
export type ToKernel =
  | { method: "update"; state: Record<string, unknown> }
  | { method: "custom"; content: Record<string, unknown>; buffers: Uint8Array[] };

/** Bytes within traits cross to and from the page as `{ base64 }`. */
export interface Packed {
  base64: string;
}

declare global {
  var widgets: {
    /** Loads a front end as anywidget does, from its text, and initializes a model. */
    load(esm: string, traits: Record<string, unknown>): Promise<void>;
    /** One more view of the model; gives its number. */
    show(): Promise<number>;
    close(view: number): Promise<void>;
    update(state: Record<string, unknown>): void;
    get(name: string): unknown;
  };
  function toKernel(method: string, content: unknown, buffers: string[]): Promise<void>;
}

/** The page, with the widget's file beside it. */
export async function widgetSite(widget: string): Promise<SiteFiles> {
  const files = await bundle("tests/browser/pages/widget.ts");
  return files.set("widget.js", widget);
}

/** Connects a page with a kernel. */
export async function connect(page: Page, kernel: (message: ToKernel) => void): Promise<void> {
  await page.exposeFunction("toKernel", (method: string, content: Record<string, unknown>, buffers: string[]) =>
    kernel(
      method === "update"
        ? { method, state: content }
        : { method: "custom", content, buffers: buffers.map((text) => Buffer.from(text, "base64")) },
    ),
  );
}

/** Loads the widget with traits; bytes in them are packed. */
export async function load(page: Page, traits: Record<string, unknown>): Promise<void> {
  await page.evaluate(
    async (traits) => widgets.load(await (await fetch("./widget.js")).text(), traits as never),
    packed(traits) as never,
  );
}

/** Traits from the kernel. */
export async function update(page: Page, state: Record<string, unknown>): Promise<void> {
  await page.evaluate((state) => widgets.update(state as never), packed(state) as never);
}

function packed(value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString("base64") } satisfies Packed;
  if (Array.isArray(value)) return value.map(packed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, packed(one)]));
}
