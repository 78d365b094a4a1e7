import type { Field } from "../field.ts";

const sft = ["sft"] as const;

/** What only SFT has. Names, meanings and defaults are SFTConfig's. */
export const sftFields = [
  {
    name: "loss_type",
    group: "training",
    methods: sft,
    type: "choice",
    choices: ["chunked_nll", "nll", "dft"],
    default: "chunked_nll",
    help: "Loss of a token. nll and chunked_nll are the cross-entropy, which Qwench always takes by chunk. dft weighs it by the token's own probability, which keeps unlikely tokens from leading.",
  },
] as const satisfies readonly Field[];
