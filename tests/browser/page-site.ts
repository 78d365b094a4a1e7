import { fileURLToPath } from "node:url";
import { build, type Rolldown } from "vite";
import type { SiteFiles } from "./site.ts";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The page as it is built, policy and all, on a trainer that needs no GPU: `?fake=` says what it meets. */
export async function fakePage(): Promise<SiteFiles> {
  const made = (await build({
    configFile: at("../../vite.demo.config.ts"),
    logLevel: "warn",
    build: { write: false },
    plugins: [
      {
        name: "fake-trainer",
        enforce: "pre",
        resolveId: (source, importer) =>
          source.endsWith("src/client.ts") && importer?.endsWith("demo/main.ts") ? at("./fake-trainer.ts") : null,
      },
    ],
  })) as Rolldown.RolldownOutput;
  return new Map(made.output.map((file) => [file.fileName, file.type === "chunk" ? file.code : file.source]));
}
