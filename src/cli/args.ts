import { QwenchError } from "../errors.ts";
import { ignoredNames, oldNames, refusedNames } from "../recipe/names.ts";
import { fieldOf, type Method, namesOf, nearestName, otherMethodOf } from "../recipe/recipe.ts";
import { oneLine } from "../text/show.ts";

/** An invalid command line; the CLI exits with 2. Invalid values of recipe fields are RecipeErrors. */
export class UsageError extends QwenchError {
  override name = "UsageError";
}

/** A flag of the command, not of the recipe. */
export interface CliFlag {
  readonly name: string;
  /** `list`: the flag may be repeated, one text each time */
  readonly type: "boolean" | "string" | "list";
  readonly help: string;
  /** one letter, for `-h` */
  readonly short?: string;
  /** placeholder for the value in help */
  readonly value?: string;
}

export interface ParsedArgs {
  /** positional arguments, in order */
  positional: string[];
  /** recipe fields by their given names, with values as text, true, or lists of text; input for parseRecipe */
  overrides: Record<string, unknown>;
  /** the command's own flags */
  flags: Record<string, string | boolean | string[]>;
}

export const helpFlag: CliFlag = { name: "help", short: "h", type: "boolean", help: "Show this text." };

const booleanText = /^(true|false|yes|no|on|off|1|0)$/i;
const yamlFile = /\.ya?ml$/i;

/**
 * Splits a command's arguments into a recipe's overrides, the command's own flags and the rest.
 *
 * `--learning_rate 1e-4`, `--learning-rate=1e-4`, `--packing`, `--no_packing`, `--packing false`,
 * `--lora_target_modules q_proj v_proj` or `q_proj,v_proj`, `--lr_scheduler_kwargs '{"min_lr_rate": 0.1}'`;
 * `--config FILE` counts as a positional, as in TRL. The last of equal flags wins; `--` ends the flags.
 *
 * @param argv arguments after the command's name
 * @throws {UsageError} `Unknown flag --lora_rank: did you mean --lora_r?`
 */
export function parseArgs(
  argv: readonly string[],
  { method, flags = [] }: { method?: Method; flags?: readonly CliFlag[] },
): ParsedArgs {
  const own = [...flags, helpFlag];
  const parsed: ParsedArgs = { positional: [], overrides: {}, flags: {} };
  let at = 0;

  /** The text after `=`, or the next argument. `bare` is the value of a flag without either. */
  const take = (flag: string, inline: string | null, bare: true | null, accepts = (_: string) => true) => {
    if (inline !== null) return inline;
    const next = argv[at];
    if (next !== undefined && !isFlag(next) && accepts(next)) {
      at++;
      return next;
    }
    if (bare !== null) return bare;
    throw new UsageError(`${flag} needs a value, got ${next === undefined ? "the end of the line" : next}`);
  };

  while (at < argv.length) {
    const arg = argv[at++];
    if (arg === "--") {
      parsed.positional.push(...argv.slice(at));
      break;
    }
    if (!isFlag(arg)) {
      parsed.positional.push(arg);
      continue;
    }
    const equals = arg.indexOf("=");
    const inline = equals < 0 ? null : arg.slice(equals + 1);
    const spelled = equals < 0 ? arg : arg.slice(0, equals);
    const name = spelled.replace(/^--?/, "").replaceAll("-", "_");

    const flag = own.find((candidate) => (arg.startsWith("--") ? candidate.name === name : candidate.short === name));
    if (flag) {
      const value =
        flag.type === "boolean"
          ? take(spelled, inline, true, (next) => booleanText.test(next))
          : take(spelled, inline, null);
      const before = parsed.flags[flag.name];
      if (flag.type === "boolean") parsed.flags[flag.name] = !/^(false|no|off|0)$/i.test(String(value));
      else if (flag.type === "string") parsed.flags[flag.name] = String(value);
      else parsed.flags[flag.name] = [...(Array.isArray(before) ? before : []), String(value)];
      continue;
    }
    if (method === undefined || !arg.startsWith("--")) throw unknownFlag(spelled, name, own, method);
    if (name === "config") {
      parsed.positional.unshift(String(take(spelled, inline, null)));
      continue;
    }
    const negated = name.startsWith("no_") ? fieldOf(name.slice(3), method) : null;
    if (negated?.type === "boolean" && inline === null) {
      parsed.overrides[negated.name] = false;
      continue;
    }
    const old = oldNames.find((candidate) => candidate.name === name);
    const field = fieldOf(old?.field ?? name, method);
    if (field === null) {
      if (!Object.hasOwn(ignoredNames(method), name) && !Object.hasOwn(refusedNames(method), name)) {
        throw unknownFlag(spelled, name, own, method);
      }
      // a recipe file after a flag of unknown type is not the flag's value
      parsed.overrides[name] = take(spelled, inline, true, (next) => !yamlFile.test(next));
    } else if (field.type === "toggle" || old?.convert !== undefined) {
      parsed.overrides[name] = take(spelled, inline, true, (next) => !yamlFile.test(next));
    } else if (field.type === "boolean") {
      parsed.overrides[name] = take(spelled, inline, true, (next) => booleanText.test(next));
    } else if (field.type === "list") {
      const items = [String(take(spelled, inline, null))];
      const open = inline === null && (field.verbatim || !items[0].includes(","));
      while (open && at < argv.length && !isFlag(argv[at]) && !yamlFile.test(argv[at])) items.push(argv[at++]);
      parsed.overrides[name] = field.verbatim
        ? items
        : items.flatMap((item) => item.split(/[\s,]+/)).filter((item) => item !== "");
    } else {
      parsed.overrides[name] = take(spelled, inline, null);
    }
  }
  return parsed;
}

/** `-1`, `-.5` and `-` are values: flags begin with `--`, or with `-` and a letter. */
function isFlag(arg: string): boolean {
  return arg.startsWith("--") || /^-[a-z]/i.test(arg);
}

function unknownFlag(spelled: string, name: string, own: readonly CliFlag[], method?: Method): UsageError {
  const names = [...own.map((flag) => flag.name), ...(method === undefined ? [] : namesOf(method))];
  const other = method === undefined ? null : otherMethodOf(name, method);
  const near = nearestName(name, names);
  const why = other ? `: it belongs to ${other}, not to ${method}` : near ? `: did you mean --${near}?` : "";
  return new UsageError(`Unknown flag ${oneLine(spelled, 64)}${why}`);
}
