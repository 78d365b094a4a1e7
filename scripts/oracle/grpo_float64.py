"""TRL's own GRPO losses of a golden folder in float64, beside those that the folder holds in float32.

    python grpo_float64.py tests/golden/grpo_113

Prints for each setting how far float32 is from float64. Needs torch, transformers, PEFT and TRL 1.13.
"""

import json
import sys
from pathlib import Path

import torch
from grpo_loss import load, trainer_of
from safetensors.torch import load_file

DEFAULTS = {
    "delta": None,
    "epsilon_high": None,
    "use_bias_correction_kl": True,
    "sapo_temperature_pos": 1.0,
    "sapo_temperature_neg": 1.05,
    "vespo_k_pos": 2.0,
    "vespo_lambda_pos": 3.0,
    "vespo_k_neg": 3.0,
    "vespo_lambda_neg": 2.0,
    "steps_per_generation": 1,
    "gradient_accumulation_steps": 1,
    "top_entropy_quantile": 1.0,
    "off_policy_mask_threshold": None,
    "entropy_coef": 0.0,
}


def inputs_of(setting, batch, logps):
    inputs = {name: batch[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")}
    inputs["advantages"] = logps["advantages"]
    inputs["num_items_in_batch"] = torch.tensor(setting["num_items_in_batch"])
    if not setting.get("on_policy"):
        inputs["old_per_token_logps"] = logps["old_per_token_logps"]
    if setting["beta"] != 0:
        inputs["ref_per_token_logps"] = logps["ref_per_token_logps"]
    return inputs


def main(folder):
    torch.set_num_threads(1)
    settings = json.loads((folder / "losses.json").read_text())
    batch, logps = load_file(folder / "batch.safetensors"), load_file(folder / "logps.safetensors")
    model = load(folder, torch.float64, "sdpa")
    for i, setting in enumerate(settings):
        trainer = trainer_of(model, {**DEFAULTS, **setting})
        exact = trainer._compute_loss(model, inputs_of(setting, batch, logps)).item()
        far = abs(setting["loss"] - exact) / abs(exact)
        print(f"{i}: {setting['loss_type']}, float32 {setting['loss']}, float64 {exact}: {far:.1e}")


main(Path(sys.argv[1]))
