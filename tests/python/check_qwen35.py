"""Qwen3.5 both ways between Qwench and transformers with PEFT: `make` writes a published model and an adapter, `check` prints logits."""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, Qwen3_5Config, Qwen3_5ForConditionalGeneration

command, root, *more = sys.argv[1:]


def logits(model, ids):
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double().flatten().tolist()


def make(spec):
    torch.manual_seed(1)
    vision = dict(depth=1, hidden_size=16, num_heads=2, intermediate_size=16, out_hidden_size=spec["hidden_size"], patch_size=4)
    config = Qwen3_5Config(text_config=spec, vision_config={**vision, "num_position_embeddings": 16}, tie_word_embeddings=True)
    model = Qwen3_5ForConditionalGeneration(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(f"{root}/base")
    names = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj in_proj_qkv in_proj_z in_proj_b in_proj_a out_proj"
    tuned = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=names.split()))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    tuned.save_pretrained(f"{root}/theirs")


def check(ids):
    def of(model, adapter):
        return logits(PeftModel.from_pretrained(model, f"{root}/{adapter}") if adapter else model, ids)

    def whole():
        return Qwen3_5ForConditionalGeneration.from_pretrained(f"{root}/base", dtype=torch.float32)

    def text(folder):
        return AutoModelForCausalLM.from_pretrained(f"{root}/{folder}", dtype=torch.float32)

    return {
        "base": of(whole(), None),
        "theirs": of(whole(), "theirs"),
        "ours": of(whole(), "ours"),
        "merged": of(Qwen3_5ForConditionalGeneration.from_pretrained(f"{root}/merged", dtype=torch.float32), None),
        "merged_text": of(text("merged"), None),
        "trained": of(text("trained"), None),
    }


if command == "make":
    make(json.loads(more[0]))
else:
    print(json.dumps(check(json.loads(more[0]))))
