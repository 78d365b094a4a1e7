import { type Field, fieldsOf, type Method, methods } from "../../recipe/recipe.ts";
import { helpFlag } from "../args.ts";
import type { Command } from "../command.ts";
import { firstClause } from "./help.ts";

/** Shells that `qwench completions` writes a script for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

type Commands = Readonly<Record<string, Command>>;

interface Word {
  /** a flag without its dashes */
  name: string;
  /** its help's beginning */
  says: string;
  /** values to complete; empty: file names */
  values: readonly string[];
  /** whether a value follows the flag */
  takes: boolean;
}

/**
 * A script that makes a shell complete qwench's commands, flags and the values of flags with fixed choices.
 *
 * bash: `source <(qwench completions bash)`; zsh: the same after `compinit`; fish: `qwench completions fish | source`.
 */
export function completionScript(shell: (typeof SHELLS)[number], commands: Commands): string {
  const words = new Map(Object.entries(commands).map(([name, command]) => [name, wordsOf(command)]));
  if (shell === "fish") return fish(commands, words);
  const cases = [...words].map(
    ([name, flags]) => `    ${name}) flags="${flags.map((w) => `--${w.name}`).join(" ")}" ;;`,
  );
  const choices = [...words].flatMap(([command, flags]) =>
    flags
      .filter(({ values }) => values.length > 0)
      .map(({ name, values }) => `    "${command} --${name}") values="${values.join(" ")}" ;;`),
  );
  const names = [...Object.keys(commands), "help", "completions"].join(" ");
  const choose = `  case "$command" in
${cases.join("\n")}
    help) flags="${names}" ;;
    completions) flags="${SHELLS.join(" ")}" ;;
  esac
  case "$command $before" in
${choices.join("\n")}
  esac`;
  return shell === "bash" ? bash(names, choose) : zsh(names, choose);
}

function wordsOf({ method, flags = [] }: Command): Word[] {
  const own = [...flags, helpFlag].map(({ name, help, type, value }): Word => {
    const choices = value !== undefined && /^[a-z\d_]+(\|[a-z\d_]+)+$/.test(value) ? value.split("|") : [];
    return { name, says: firstClause(help), values: choices, takes: type !== "boolean" };
  });
  const taken: readonly Method[] = method === undefined ? [] : method === "any" ? methods : [method];
  const fields = new Map(taken.flatMap((one) => fieldsOf(one).map((field) => [field.name, field])));
  return [...own, ...[...fields.values()].map(wordOf)];
}

function wordOf(field: Field): Word {
  const values = field.type === "boolean" ? ["true", "false"] : (field.choices ?? field.words ?? []);
  return { name: field.name, says: firstClause(field.help), values, takes: true };
}

const bash = (names: string, choose: string) => `# qwench: source <(qwench completions bash)
_qwench() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" command="\${COMP_WORDS[1]}" flags="" values=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${names}" -- "$word"))
    return
  fi
${choose}
  if [ -n "$values" ]; then COMPREPLY=($(compgen -W "$values" -- "$word"))
  elif [[ "$word" == -* || "$command" == help || "$command" == completions ]]; then COMPREPLY=($(compgen -W "$flags" -- "$word"))
  fi
}
complete -o default -F _qwench qwench
`;

const zsh = (names: string, choose: string) => `#compdef qwench
# qwench: source <(qwench completions zsh), after compinit
_qwench() {
  local command="\${words[2]}" before="\${words[CURRENT-1]}" flags="" values=""
  if (( CURRENT == 2 )); then
    compadd -- ${names}
    return
  fi
${choose}
  if [[ -n "$values" ]]; then compadd -- \${=values}
  elif [[ "$PREFIX" == -* || "$command" == help || "$command" == completions ]]; then compadd -- \${=flags}
  else _files
  fi
}
compdef _qwench qwench
`;

function fish(commands: Commands, words: ReadonlyMap<string, Word[]>): string {
  const quoted = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
  const first = (name: string, says: string) =>
    `complete -c qwench -n __fish_use_subcommand -f -a ${name} -d ${quoted(says)}`;
  const lines = ["# qwench: qwench completions fish | source"];
  for (const [name, { summary }] of Object.entries(commands)) lines.push(first(name, firstClause(summary)));
  lines.push(first("help", "Describes a command, a flag or a recipe field"));
  lines.push(first("completions", "Prints a script that completes commands and flags"));
  lines.push(`complete -c qwench -n '__fish_seen_subcommand_from completions' -f -a '${SHELLS.join(" ")}'`);
  lines.push(`complete -c qwench -n '__fish_seen_subcommand_from help' -f -a '${Object.keys(commands).join(" ")}'`);
  for (const [command, flags] of words) {
    for (const { name, says, values, takes } of flags) {
      const value = values.length > 0 ? ` -x -a ${quoted(values.join(" "))}` : takes ? " -r" : "";
      lines.push(
        `complete -c qwench -n '__fish_seen_subcommand_from ${command}' -l ${name} -d ${quoted(says)}${value}`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}
