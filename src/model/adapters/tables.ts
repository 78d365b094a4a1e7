import { UnsupportedError } from "../../errors.ts";
import type { AdapterConfig } from "../../io/peft.ts";
import { show } from "../../text/show.ts";
import type { ModelConfig } from "../architectures/architecture.ts";
import { EMBEDDING, HEAD, tensorsOf } from "../architectures/tensors.ts";
import type { ParameterSpec } from "../parameters.ts";

/** Name of a table in a checkpoint. */
export type Table = typeof EMBEDDING | typeof HEAD;

/** A table that is trained and saved whole, beside the matrices: PEFT's `modules_to_save`. */
export interface SavedTable extends ParameterSpec {
  table: Table;
}

const TABLES: Readonly<Record<"embed_tokens" | "lm_head", Table>> = { embed_tokens: EMBEDDING, lm_head: HEAD };

/**
 * The tables that an adapter replaces: embedding and head, under PEFT's names. As in PEFT, each has its own copy, so that a head
 * that was tied to the embedding is not tied any more.
 *
 * @throws {UnsupportedError} another module
 */
export function savedTables(
  config: ModelConfig,
  { modules_to_save }: Pick<AdapterConfig, "modules_to_save">,
): SavedTable[] {
  const names = (modules_to_save ?? []).map((name) => {
    const known = tableNamed(name);
    if (known) return known;
    throw new UnsupportedError(
      `Cannot use modules_to_save ${show(name)}: Qwench trains ${Object.keys(TABLES).join(" and ")} beside LoRA, and no other module`,
    );
  });
  const { shape } = tensorsOf(config).get(EMBEDDING)!;
  return Object.values(TABLES)
    .filter((table) => names.includes(table))
    .map((table) => ({ table, name: tableName(table), shape, decay: true }));
}

/** The table that a module's name, or the end of its path, means; null: another module. */
export function tableNamed(name: string): Table | null {
  const known = Object.keys(TABLES).find((table) => name === table || name.endsWith(`.${table}`));
  return known ? TABLES[known as keyof typeof TABLES] : null;
}

/** PEFT's name of a table in an adapter's file. */
export function tableName(table: Table): string {
  return `base_model.model.${table}`;
}
