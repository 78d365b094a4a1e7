import { FormatError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import type { GrpoRecipe } from "../../recipe/recipe.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import type { ExtraFile } from "../checkpoint.ts";

/** Fields of a recipe that say how entropy is kept up. */
export type EntropyFields = Pick<
  GrpoRecipe,
  | "entropy_coef"
  | "use_adaptive_entropy"
  | "entropy_coef_min"
  | "entropy_coef_max"
  | "entropy_coef_delta"
  | "entropy_target"
>;

/** TRL's name and form, so that a checkpoint of one tells the other. */
const STATE_FILE = "entropy_ctrl_state.json";

/**
 * The weight of the entropy in GRPO's loss: constant, or (`use_adaptive_entropy`) raised by `entropy_coef_delta` after each
 * optimizer step whose entropy was at or below `entropy_target`, lowered after the others, and 0 while the last step's was above.
 *
 * @see He et al. 2025, arXiv:2505.22312 (Skywork-OR1); TRL's GRPOTrainer
 */
export class EntropyControl {
  /** whether the loss has such a term at all */
  readonly enabled: boolean;
  private readonly fields: EntropyFields;
  private coef: number;
  private last = Number.POSITIVE_INFINITY;

  constructor(fields: EntropyFields) {
    this.fields = fields;
    this.coef = fields.entropy_coef;
    this.enabled = fields.use_adaptive_entropy || fields.entropy_coef !== 0;
  }

  /** Whether a step's weight depends on the step before: then that has to be taken in first. */
  get adaptive(): boolean {
    return this.fields.use_adaptive_entropy;
  }

  /** The weight of the present step; null where the loss has no such term. */
  get applied(): number | null {
    if (!this.enabled) return null;
    return this.adaptive && this.last > this.fields.entropy_target ? 0 : this.coef;
  }

  /**
   * Takes in a finished optimizer step.
   *
   * @param counted sums of the entropies of tokens that count, and their numbers, a pair a micro-batch
   * @returns what is logged of it
   */
  taken(counted: readonly { entropy: number; tokens: number }[]): Record<string, number> {
    if (!this.enabled) return {};
    if (this.adaptive) {
      const { entropy_coef_delta: delta, entropy_coef_min, entropy_coef_max, entropy_target } = this.fields;
      const sum = (of: "entropy" | "tokens") => counted.reduce((total, each) => total + each[of], 0);
      this.last = sum("entropy") / Math.max(1, sum("tokens"));
      this.coef =
        this.last <= entropy_target
          ? Math.min(this.coef + delta, entropy_coef_max)
          : Math.max(this.coef - delta, entropy_coef_min);
    }
    return { entropy_coef: this.coef };
  }

  /** What a checkpoint keeps of it. */
  files(): ExtraFile[] {
    if (!this.adaptive || !Number.isFinite(this.last)) return [];
    const text = JSON.stringify({ entropy_coef: this.coef, last_world_entropy: this.last });
    return [{ name: STATE_FILE, text: `${text}\n` }];
  }

  /** Puts back what `files` has kept. A checkpoint of a run without it leaves the recipe's values. @throws {FormatError} */
  async restore(checkpoint: Folder): Promise<void> {
    if (!this.adaptive || !(await checkpoint.exists(STATE_FILE))) return;
    const where = `${checkpoint.path}/${STATE_FILE}`;
    let state: { entropy_coef?: unknown; last_world_entropy?: unknown } | null;
    try {
      state = parseBoundedJson(await checkpoint.readText(STATE_FILE)) as typeof state;
    } catch (error) {
      throw new FormatError(`Cannot read ${where}: ${(error as Error).message}`);
    }
    const { entropy_coef, last_world_entropy } = state ?? {};
    if (typeof entropy_coef !== "number" || typeof last_world_entropy !== "number") {
      throw new FormatError(`Cannot read ${where}: it needs the numbers entropy_coef and last_world_entropy`);
    }
    this.coef = entropy_coef;
    this.last = last_world_entropy;
  }
}
