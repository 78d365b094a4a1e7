import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NotFoundError } from "../../errors.ts";

/**
 * The folder of the embedded model, `assets/tiny`, found from the source tree or from the built `dist/cli.js`.
 *
 * @param from URL of the running module
 * @throws {NotFoundError} the message lists the places searched
 */
export function embeddedModelFolder(from: string = import.meta.url): string {
  const tried = ["..", "../../.."].map((up) => join(fileURLToPath(new URL(`${up}/`, from)), "assets", "tiny"));
  const found = tried.find((folder) => existsSync(join(folder, "config.json")));
  if (!found)
    throw new NotFoundError(`Cannot find the embedded model: there is no config.json in ${tried.join(" or ")}`);
  return found;
}
