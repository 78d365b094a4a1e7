/** Training methods. A new method adds its name here and its fields in the table, without other code. */
export const methods = ["sft", "grpo", "dpo"] as const;
/** A method of training. */
export type Method = (typeof methods)[number];

/** Headings of `--help`, of docs/options.md and of the demo's form, in order. */
export const groups = [
  "model",
  "peft",
  "data",
  "generation",
  "rewards",
  "grpo",
  "dpo",
  "training",
  "optimizer",
  "evaluation",
  "logging",
  "saving",
] as const;
export type Group = (typeof groups)[number];

/** A value that YAML, JSON or a flag can express. */
export type FieldValue =
  | string
  | number
  | boolean
  | null
  | readonly string[]
  | readonly number[]
  | { readonly [key: string]: unknown }
  | readonly { readonly [key: string]: unknown }[];

/** One option. Validation, flags, help, docs/options.md and the types derive from it. */
export interface Field {
  /** TRL's, PEFT's or transformers' name, unless `origin` names another source */
  readonly name: string;
  readonly group: Group;
  readonly methods: readonly Method[];
  /** `toggle` is a boolean or a path; `mappings` a list of objects */
  readonly type: "string" | "boolean" | "integer" | "number" | "choice" | "list" | "object" | "mappings" | "toggle";
  readonly default: FieldValue;
  /** overrides for single methods; `fieldsOf` applies them */
  readonly differs?: Partial<
    Record<Method, Partial<Pick<Field, "default" | "trlDefault" | "help" | "unit" | "origin">>>
  >;
  /** whether null is allowed */
  readonly nullable?: boolean;
  readonly choices?: readonly string[];
  /** lower-case aliases of a value; booleans and null are written as words */
  readonly synonyms?: Readonly<Record<string, string>>;
  /** TRL's choices that Qwench does not implement, with the reason */
  readonly missing?: Readonly<Record<string, string>>;
  /** the type of a list's items; default: names */
  readonly of?: "number";
  /** text may be pairs `name=value`, separated by commas, as transformers writes them */
  readonly pairs?: true;
  /** a mapping of names to such lists may replace a list of numbers */
  readonly byName?: true;
  /** names may also be one regular expression; text with a special character counts as one */
  readonly pattern?: boolean;
  /** items are texts, kept as they are: a text is one item, and spaces count */
  readonly verbatim?: boolean;
  /** words that may replace a list */
  readonly words?: readonly string[];
  /** inclusive lower bound; `above` and `below` are exclusive bounds */
  readonly min?: number;
  readonly above?: number;
  readonly below?: number;
  readonly max?: number;
  /** a value outside the bounds that turns the option off */
  readonly off?: number;
  /** `ratio`: a value below 1 is a share of all steps; from 1 it is a whole number of steps */
  readonly ratio?: boolean;
  readonly unit?: string;
  /** one or two sentences, plain text */
  readonly help: string;
  /** the source of a name that TRL lacks; `trl sft --config` and similar commands reject such names */
  readonly origin?: "qwench" | "open-r1" | "peft" | "unsloth";
  /** TRL's default, if Qwench's differs; `help` says why */
  readonly trlDefault?: FieldValue;
  /** notes to show when a value is set, by the value as text */
  readonly noted?: Readonly<Record<string, string>>;
}
