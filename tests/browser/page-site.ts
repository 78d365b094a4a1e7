import { fileURLToPath } from "node:url";
import { build, type Plugin, type Rolldown } from "vite";
import { once } from "./once.ts";
import { readSite, type SiteFiles } from "./site.ts";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The page as it is built, with its worker and the embedded model. */
export async function builtPage(plugins: Plugin[] = []): Promise<SiteFiles> {
  const made = (await build({
    configFile: at("../../vite.demo.config.ts"),
    logLevel: "warn",
    build: { write: false },
    plugins,
  })) as Rolldown.RolldownOutput;
  const tiny = [...readSite(at("../../assets/tiny"))].map(([name, bytes]) => [`tiny/${name}`, bytes] as const);
  const files = made.output.map((file) => [file.fileName, file.type === "chunk" ? file.code : file.source] as const);
  return new Map([...files, ...tiny]);
}

/** The same page on a trainer that needs no GPU: `?fake=` says what it meets. */
export function fakePage(): Promise<SiteFiles> {
  return once("fake page", makeFakePage);
}

function makeFakePage(): Promise<SiteFiles> {
  return builtPage([
    {
      name: "fake-trainer",
      enforce: "pre",
      resolveId: (source, importer) =>
        source.endsWith("src/client.ts") && importer?.endsWith("demo/main.ts") ? at("./fake-trainer.ts") : null,
    },
  ]);
}
