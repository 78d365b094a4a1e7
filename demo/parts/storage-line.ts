import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { problemOf } from "../problems.ts";

/** A line about storage, with a link to the storage page. */
export function storageLine(app: App, signal: AbortSignal): HTMLElement {
  const line = h("p", { class: "about storage-line" });
  app.stored.watch(signal, async () => {
    const link = h("a", { href: "#/storage" }, "Storage");
    try {
      const { usage, quota } = await app.trainer.storage.usage();
      fill(line, link, `: ${formatFileSize(usage)} used, ${formatFileSize(Math.max(0, quota - usage))} free.`);
    } catch (error) {
      fill(line, link, `: ${problemOf(error).text}`);
    }
  });
  return line;
}
