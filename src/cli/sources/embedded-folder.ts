import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NotFoundError } from "../../errors.ts";

/**
 * The folder of the model that comes with Qwench, `assets/tiny`, from the source tree or from the built `dist/cli.js`.
 *
 * @param from URL of the module that runs
 * @throws {NotFoundError} with the places that were tried
 */
export function embeddedModelFolder(from: string = import.meta.url): string {
  const tried = ["..", "../../.."].map((up) => join(fileURLToPath(new URL(`${up}/`, from)), "assets", "tiny"));
  const found = tried.find((folder) => existsSync(join(folder, "config.json")));
  if (!found)
    throw new NotFoundError(`Cannot find the embedded model: there is no config.json in ${tried.join(" or ")}`);
  return found;
}
