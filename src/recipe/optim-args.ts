import { RecipeError } from "../errors.ts";
import { show } from "../text/show.ts";

/** `optim_args` of a recipe: settings by their names, as values or as text. */
export type OptimArgs = Readonly<Record<string, unknown>>;

/** The settings of torch.optim.Muon that a recipe may change, with their defaults. */
interface MuonArgs {
  momentum: number;
  nesterov: boolean;
  ns_steps: number;
  ns_coefficients: readonly [number, number, number];
  eps: number;
  adjust_lr_fn: "original" | "match_rms_adamw";
}

const DEFAULTS: MuonArgs = {
  momentum: 0.95,
  nesterov: true,
  ns_steps: 5,
  ns_coefficients: [3.4445, -4.775, 2.0315],
  eps: 1e-7,
  adjust_lr_fn: "match_rms_adamw",
};

/** Names and defaults, for help. */
export const muonHelp = Object.entries(DEFAULTS)
  .map(([name, value]) => `${name} (${Array.isArray(value) ? value.join(", ") : value})`)
  .join(", ");

/** One setting's values, and how text becomes one; null: not a value of it. */
const READ: { [K in keyof MuonArgs]: { rule: string; read(value: unknown): MuonArgs[K] | null } } = {
  momentum: { rule: "a number from 0 to below 1", read: (value) => within(value, (n) => n >= 0 && n < 1) },
  nesterov: {
    rule: "true or false",
    read: (value) => (/^true$/i.test(String(value)) ? true : /^false$/i.test(String(value)) ? false : null),
  },
  // torch has the same limit
  ns_steps: {
    rule: "a whole number from 0 to 99",
    read: (value) => within(value, (n) => Number.isInteger(n) && n >= 0 && n < 100),
  },
  ns_coefficients: {
    rule: "three numbers",
    read(value) {
      const numbers = Array.isArray(value) ? value.map((one) => within(one, Number.isFinite)) : [];
      return numbers.length === 3 && !numbers.includes(null) ? (numbers as [number, number, number]) : null;
    },
  },
  eps: { rule: "a number above 0", read: (value) => within(value, (n) => n > 0) },
  adjust_lr_fn: {
    rule: "original or match_rms_adamw",
    read: (value) => (value === "original" || value === "match_rms_adamw" ? value : null),
  },
};

function within(value: unknown, fits: (n: number) => boolean): number | null {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) && fits(number) ? number : null;
}

/**
 * Muon's settings of a recipe.
 *
 * @throws {RecipeError} a name that torch.optim.Muon lacks, or a value outside its bounds
 */
export function muonSettings(args: OptimArgs | null): MuonArgs {
  const settings: Record<string, unknown> = { ...DEFAULTS };
  for (const [name, given] of Object.entries(args ?? {})) {
    if (!Object.hasOwn(READ, name)) {
      throw new RecipeError(`optim_args takes ${Object.keys(READ).join(", ")}, got ${show(name)}`);
    }
    const { rule, read } = READ[name as keyof MuonArgs];
    const value = read(given);
    if (value === null) throw new RecipeError(`${name} of optim_args must be ${rule}, got ${show(given)}`);
    settings[name] = value;
  }
  return settings as unknown as MuonArgs;
}
