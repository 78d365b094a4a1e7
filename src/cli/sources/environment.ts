import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { FormatError, NotFoundError } from "../../errors.ts";
import { isObject } from "../../text/json.ts";
import type { Environment } from "../../train/grpo/tools.ts";
import { RewardModule } from "./rewards-module.ts";

/** An environment in its own thread. */
export interface OpenedEnvironment extends Environment {
  close(): Promise<void>;
}

/**
 * The functions of a module that the model may call. Its export `tools` holds their JSON schemas; each names an export, a
 * function of one object of arguments.
 *
 * @throws {NotFoundError} there is no such file
 * @throws {FormatError} the module does not load, or its exports are not as above
 */
export async function openEnvironment(file: string): Promise<OpenedEnvironment> {
  const path = resolve(file);
  if (!existsSync(path)) throw new NotFoundError(`Cannot open the environment ${file}: there is no such file`);
  const refuse = (why: string) => new FormatError(`Cannot use the environment ${file}: ${why}`);
  let loaded: Awaited<ReturnType<typeof RewardModule.load>>;
  try {
    loaded = await RewardModule.load(path);
  } catch (error) {
    throw refuse(`${(error as Error).name}: ${(error as Error).message}`);
  }
  const { module, exports } = loaded;
  try {
    const kindOf = (name: string) => exports.find((one) => one.export === name)?.kind ?? "missing";
    const schemas = kindOf("tools") === "object" ? await module.value("tools") : null;
    if (!Array.isArray(schemas) || schemas.length === 0) throw refuse("it must export tools, a list of JSON schemas");
    const names = schemas.map((schema) => {
      const own = isObject(schema) && isObject(schema.function) ? schema.function : schema;
      if (isObject(own) && typeof own.name === "string") return own.name;
      throw refuse(`a schema of tools needs {type: "function", function: {name, description, parameters}}`);
    });
    const odd = names.find((name) => kindOf(name) !== "function");
    if (odd !== undefined) throw refuse(`tools names ${odd}, but that export is ${kindOf(odd)}, not a function`);
    return { schemas, names, call: (name, args) => module.call(name, args), close: () => module.end() };
  } catch (error) {
    await module.end();
    throw error;
  }
}
