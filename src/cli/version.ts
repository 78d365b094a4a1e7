import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NotFoundError } from "../errors.ts";

/**
 * The package's version, read from the source tree or beside the built `dist/cli.js`.
 *
 * @param from URL of the running module
 * @throws {NotFoundError} the message lists the places searched
 */
export function packageVersion(from: string = import.meta.url): string {
  const tried = ["..", "../.."].map((up) => join(fileURLToPath(new URL(`${up}/`, from)), "package.json"));
  const found = tried.find((file) => existsSync(file));
  if (!found) throw new NotFoundError(`Cannot tell Qwench's version: there is no ${tried.join(" or ")}`);
  return JSON.parse(readFileSync(found, "utf8")).version;
}
