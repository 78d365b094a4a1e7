"""What PEFT makes of adapters that Qwench trained, and adapters that PEFT trains for Qwench to read.

    python peft_adapters.py FOLDER

FOLDER holds base/ and untied/ (checkpoints; names that begin with untied are for the second), ids.json (token ids of one row) and ours/NAME (PEFT folders that Qwench wrote). Writes
ours_logits.safetensors (NAME: logits with the adapter, NAME.merged: merged by PEFT), theirs/NAME (adapters that PEFT trained
for a few steps) and theirs_logits.safetensors. Everything in float32. Needs torch, transformers 5.18 and PEFT 0.21.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS = {
    "dora": {"use_dora": True, "target_modules": ALL},
    "dora_rslora": {"use_dora": True, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]},
    "pissa": {"init_lora_weights": "pissa", "target_modules": ALL},
    "pissa_converted": {"init_lora_weights": "pissa", "target_modules": ALL},
    "embedding": {"modules_to_save": ["embed_tokens"], "target_modules": ALL},
    "head": {"modules_to_save": ["lm_head"], "target_modules": ALL},
    "embedding_and_head": {"modules_to_save": ["embed_tokens", "lm_head"], "target_modules": ALL},
    "tokens": {"trainable_token_indices": [3, 200, 7], "target_modules": ALL},
    "tokens_apart": {"trainable_token_indices": {"embed_tokens": [3, 200], "lm_head": [10]}, "target_modules": ALL},
    "untied_tokens": {"trainable_token_indices": [3, 200, 7], "target_modules": ALL},
    "untied_tokens_of_both": {
        "trainable_token_indices": {"embed_tokens": [3, 200], "lm_head": [10, 3, 7]},
        "target_modules": ALL,
    },
    "patterns": {
        "target_modules": ALL,
        "rank_pattern": {"q_proj": 8, "layers.1.mlp.*": 2},
        "alpha_pattern": {"self_attn.q_proj": 3},
    },
}


def main(folder):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])

    def base(name):
        path = folder / ("untied" if name.startswith("untied") else "base")
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    def logits(model):
        with torch.no_grad():
            return model(ids).logits[0].contiguous()

    ours = {}
    for path in sorted((folder / "ours").iterdir()):
        model = PeftModel.from_pretrained(base(path.name), path).eval()
        ours[path.name] = logits(model)
        ours[f"{path.name}.merged"] = logits(model.merge_and_unload())
    save_file(ours, folder / "ours_logits.safetensors")

    theirs = {}
    for name, settings in SETTINGS.items():
        model = get_peft_model(base(name), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **settings))
        start = folder / "start"
        if name == "pissa_converted":
            model.peft_config["default"].init_lora_weights = True
            model.save_pretrained(start)
            model.peft_config["default"].init_lora_weights = "pissa"
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(5):
            model(ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        theirs[name] = logits(model.eval())
        more = {"path_initial_model_for_weight_conversion": str(start)} if name == "pissa_converted" else {}
        model.save_pretrained(folder / "theirs" / name, **more)
    save_file(theirs, folder / "theirs_logits.safetensors")


main(Path(sys.argv[1]))
