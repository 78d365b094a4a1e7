/** What a recipe trains with. A further method adds a name here, and rows or tags in the table; no code. */
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

/** A value as YAML, JSON or a flag can spell it. */
export type FieldValue =
  | string
  | number
  | boolean
  | null
  | readonly string[]
  | readonly number[]
  | { readonly [key: string]: unknown };

/** One option, declared once: validation, flags, help, docs/options.md and the types derive from it. */
export interface Field {
  /** TRL's, PEFT's or transformers' name, unless `origin` says whose it is */
  readonly name: string;
  readonly group: Group;
  readonly methods: readonly Method[];
  /** `toggle` is a boolean or a path */
  readonly type: "string" | "boolean" | "integer" | "number" | "choice" | "list" | "object" | "toggle";
  readonly default: FieldValue;
  /** what is otherwise in a method; `fieldsOf` puts it in place */
  readonly differs?: Partial<
    Record<Method, Partial<Pick<Field, "default" | "trlDefault" | "help" | "unit" | "origin">>>
  >;
  /** whether null is a value */
  readonly nullable?: boolean;
  readonly choices?: readonly string[];
  /** other spellings of a value that mean the same here, in lower case; booleans and null by their words */
  readonly synonyms?: Readonly<Record<string, string>>;
  /** choices TRL has and Qwench has not, with the reason */
  readonly missing?: Readonly<Record<string, string>>;
  /** what a list holds; names where absent */
  readonly of?: "number";
  /** names may also be one regular expression, which text with a character of such is */
  readonly pattern?: boolean;
  /** a list may also be one of these words */
  readonly words?: readonly string[];
  /** smallest value; `above` and `below` are exclusive bounds */
  readonly min?: number;
  readonly above?: number;
  readonly below?: number;
  readonly max?: number;
  /** a value outside the bounds that means off */
  readonly off?: number;
  /** `ratio`: below 1 it is a share of all steps, from 1 on a whole number of steps */
  readonly ratio?: boolean;
  readonly unit?: string;
  /** one or two sentences, plain text */
  readonly help: string;
  /** who defines a name that TRL does not; `trl sft --config` and its like refuse it */
  readonly origin?: "qwench" | "open-r1" | "peft";
  /** TRL's default where ours differs; `help` says why */
  readonly trlDefault?: FieldValue;
  /** values, as text, that are worth a note when set */
  readonly noted?: Readonly<Record<string, string>>;
}
