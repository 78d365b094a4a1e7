import { UnsupportedError } from "../../errors.ts";
import type { AdapterConfig } from "../../io/peft.ts";
import { show } from "../../text/show.ts";
import type { ModelConfig } from "../architectures/architecture.ts";
import { EMBEDDING, HEAD, tensorsOf } from "../architectures/tensors.ts";
import type { ParameterSpec } from "../parameters.ts";
import { savedTables, type Table, tableNamed } from "./tables.ts";

/** Rows of a table that are trained beside the matrices: PEFT's `trainable_token_indices`. */
export interface TrainedRows extends ParameterSpec {
  /** the token of each row; no token twice */
  ids: readonly number[];
  /** the tables whose rows they replace: both if the model ties them */
  tables: readonly Table[];
}

/**
 * The rows that an adapter replaces, under PEFT's names, `[tokens, hidden]` each. As in PEFT, a list is for the embedding, and a head
 * that is tied to it follows, unless other tokens are given for the head.
 *
 * @throws {UnsupportedError} another module, a token that the model lacks, or a table that modules_to_save trains whole
 * @see peft/utils/other.py, set_additional_trainable_modules
 */
export function trainedRows(
  config: ModelConfig,
  fields: Pick<AdapterConfig, "modules_to_save" | "trainable_token_indices">,
): TrainedRows[] {
  const given = fields.trainable_token_indices ?? [];
  const byName: [string, readonly number[]][] = isList(given) ? [["embed_tokens", given]] : Object.entries(given);
  const [vocab, width] = tensorsOf(config).get(EMBEDDING)!.shape;
  const whole = savedTables(config, fields).map(({ table }) => table);
  const tokens = new Map<Table, readonly number[]>();
  for (const [name, ids] of byName) {
    if (ids.length === 0) continue;
    const refuse = (why: string): never => {
      throw new UnsupportedError(`Cannot use trainable_token_indices for ${show(name)}: ${why}`);
    };
    const table = tableNamed(name) ?? refuse("Qwench trains rows of embed_tokens and lm_head, and of no other module");
    if (tokens.has(table)) refuse("the same table has two lists of tokens");
    const outside = ids.find((id) => !(id < vocab));
    if (outside !== undefined) refuse(`token ${outside} is outside the model's vocabulary of ${vocab}`);
    if (whole.includes(table)) refuse("modules_to_save trains this table whole; name the table in one of the two");
    if (whole.length > 0 && config.tie_word_embeddings) {
      refuse(`modules_to_save trains the other table whole, and the model ties the two`);
    }
    tokens.set(table, ids);
  }
  const [embed, head] = [tokens.get(EMBEDDING), tokens.get(HEAD)];
  const follows = config.tie_word_embeddings && embed && (!head || head.join() === embed.join());
  if (follows) tokens.delete(HEAD);
  return [...tokens].map(([table, ids]) => ({
    name: rowsName(table),
    shape: [ids.length, width],
    decay: true,
    ids,
    tables: follows ? [EMBEDDING, HEAD] : [table],
  }));
}

/** Whether merging these rows gives the two tables of a model that ties them different values. */
export function unties(config: ModelConfig, rows: readonly TrainedRows[]): boolean {
  return config.tie_word_embeddings && rows.some(({ tables }) => tables.length === 1);
}

/** PEFT's name of a table's trained rows. */
function rowsName(table: Table): string {
  return `base_model.model.${table.replace(/\.weight$/, ".token_adapter.trainable_tokens_delta")}`;
}

function isList(value: unknown): value is readonly number[] {
  return Array.isArray(value);
}
