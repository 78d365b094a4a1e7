"""TRL's own GRPO losses, metrics and LoRA gradients for settings that a JSON file holds.

    python grpo_loss.py MODEL_FOLDER CASES.json OUT_FOLDER

MODEL_FOLDER holds a checkpoint and adapter/ (PEFT). CASES.json is written by random-grpo.ts: for each case its options and
its sequences. OUT_FOLDER gets results.json and grads_{i}.safetensors; `exact` of a result is the loss with weights and sums in float64. Needs torch, transformers, PEFT and TRL 1.13.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer


def padded(rows, value, left, dtype):
    width = max(1, max(len(row) for row in rows))
    out = torch.full((len(rows), width), value, dtype=dtype)
    for i, row in enumerate(rows):
        if len(row) > 0:
            start = width - len(row) if left else 0
            out[i, start : start + len(row)] = torch.tensor(row, dtype=dtype)
    return out


def trainer_of(model, options):
    """A GRPOTrainer with nothing but what _compute_loss reads."""
    trainer = object.__new__(GRPOTrainer)
    trainer.model = model
    trainer.accelerator = Accelerator(cpu=True)
    trainer.state = SimpleNamespace(global_step=0)
    names = (
        "delta use_bias_correction_kl sapo_temperature_pos sapo_temperature_neg vespo_k_pos vespo_lambda_pos "
        "vespo_k_neg vespo_lambda_neg steps_per_generation"
    ).split()
    trainer.args = SimpleNamespace(report_to=[], **{name: options[name] for name in names})
    trainer.epsilon_low = options["epsilon"]
    trainer.epsilon_high = options["epsilon"] if options["epsilon_high"] is None else options["epsilon_high"]
    for name in (
        "loss_type beta temperature importance_sampling_level top_entropy_quantile off_policy_mask_threshold entropy_coef "
        "max_completion_length"
    ).split():
        setattr(trainer, name, options[name])
    trainer.current_gradient_accumulation_steps = options["gradient_accumulation_steps"]
    trainer._entropy_bonus_enabled = options["entropy_coef"] != 0
    trainer.use_adaptive_entropy = False
    trainer.use_vllm = False
    trainer.vllm_importance_sampling_correction = False
    trainer.use_liger_kernel = False
    trainer.aux_loss_enabled = False
    trainer.model_kwarg_keys = ("logits_to_keep",)
    trainer._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    return trainer


def inputs_of(case):
    sequences = case["sequences"]
    prompts = [s["prompt_ids"] for s in sequences]
    completions = [s["completion_ids"] for s in sequences]
    kept = [[0 if s["masked"] else 1] * len(s["completion_ids"]) for s in sequences]
    inputs = {
        "prompt_ids": padded(prompts, 0, True, torch.long),
        "prompt_mask": padded([[1] * len(p) for p in prompts], 0, True, torch.long),
        "completion_ids": padded(completions, 0, False, torch.long),
        "completion_mask": padded(kept, 0, False, torch.long),
        "advantages": torch.tensor([s["advantage"] for s in sequences], dtype=torch.float32),
        "num_items_in_batch": torch.tensor(case["options"]["num_items_in_batch"]),
    }
    for name, key in (("old_per_token_logps", "old_logps"), ("ref_per_token_logps", "ref_logps")):
        if sequences[0][key] is not None:
            inputs[name] = padded([s[key] for s in sequences], 0.0, False, torch.float32)
    return inputs


def load(folder, dtype, attention):
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention)
    model = PeftModel.from_pretrained(base, str(Path(folder) / "adapter"), is_trainable=True).to(dtype)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def main(folder, cases, out):
    model = load(folder, torch.float32, "eager")
    wide = load(folder, torch.float64, "sdpa")  # eager masks padding with -inf twice, which is NaN in float64
    results = []
    for i, case in enumerate(json.loads(Path(cases).read_text())):
        trainer = trainer_of(model, case["options"])
        model.zero_grad()
        loss = trainer._compute_loss(model, inputs_of(case))
        loss.backward()
        grads = {
            name.replace(".default.", "."): parameter.grad.contiguous()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and "lora_" in name
        }
        save_file(grads, str(Path(out) / f"grads_{i}.safetensors"))
        metrics = {name: values[0] for name, values in trainer._metrics["train"].items()}
        with torch.no_grad():
            exact = trainer_of(wide, case["options"])._compute_loss(wide, inputs_of(case)).item()
        results.append({"loss": loss.item(), "exact": exact, "metrics": metrics})
    (Path(out) / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:4])
