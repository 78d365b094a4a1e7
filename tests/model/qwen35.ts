const DELTA = ["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"];

/** Every linear layer of it. */
export const QWEN35_LINEARS = [...DELTA, "gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"];
