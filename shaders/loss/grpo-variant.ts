import { TOKEN_TERMS, type TokenTermName } from "./grpo-losses.ts";

/** Compile-time parameters of a variant. */
export interface GrpoLossVariant {
  /** where the importance ratio comes from: it is 1, of the row's own log-probs, or of its sequence's */
  ratio: "one" | "token" | "sequence";
  /** the token term */
  term: TokenTermName;
  /** the penalty towards a reference: none, plain, or multiplied by the ratio */
  kl: "none" | "plain" | "corrected";
  /** whether what is by the ratio goes to all rows of the sequence alike */
  spread: boolean;
  /** whether some rows count and some do not */
  counted: boolean;
  /** whether sequences that the policy has left are masked */
  offPolicy: boolean;
  workgroup: number;
}

/** Whether a variant reads what is known of each row's sequence. */
export const readsSequences = ({ ratio, term, spread, offPolicy }: Omit<GrpoLossVariant, "workgroup">) =>
  spread || offPolicy || ratio === "sequence" || (ratio !== "one" && "wholeSequence" in TOKEN_TERMS[term]);
