import type { Method } from "../recipe/recipe.ts";
import type { CliFlag, ParsedArgs } from "./args.ts";

/** A command of the command line. Help, completions, docs/options.md and the parser read it. */
export interface Command {
  usage: string;
  summary: string;
  /** three command lines, for `--help` */
  examples: readonly string[];
  /** names of the flags and fields in the short help; absent: all of the command's own flags */
  main?: readonly string[];
  /** the method whose recipe fields are flags; `any`: the method follows from the command line */
  method?: Method | "any";
  flags?: CliFlag[];
  run(args: ParsedArgs, method?: Method): Promise<number>;
}
