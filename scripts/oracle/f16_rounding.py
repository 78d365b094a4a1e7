"""How far transformers is from a golden case with weights rounded to f16, and with f32 sums: python f16_rounding.py FOLDER

The folder is of Qwen3.5's text model, with case.json. Prints relative errors, largest difference over largest value, of base logits,
log-probs, logits with the adapter, and the worst of the adapter's gradients.
"""

import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Qwen3_5ForCausalLM

torch.set_num_threads(1)
folder = sys.argv[1]


def read(name):
    return load_file(f"{folder}/{name}.safetensors")


batch = read("batch")
inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
real = batch["attention_mask"].bool()


def worst(got, want):
    return ((got.double() - want.double()).abs().max() / want.double().abs().max()).item()


def distances(rounded, dtype):
    model = Qwen3_5ForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if rounded:
        for parameter in model.parameters():
            parameter.data = parameter.data.half().float()
    model = model.to(dtype)
    base = model(**inputs).logits.detach()
    wanted = read("base_outputs")
    logps = base[:, :-1].log_softmax(-1).gather(-1, inputs["input_ids"][:, 1:, None]).squeeze(-1)
    model = PeftModel.from_pretrained(model, f"{folder}/adapter", is_trainable=True).to(dtype)
    out = model(**inputs, labels=batch["labels"])
    out.loss.backward()
    grads = {name.replace(".default", ""): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {
        "logits": worst(base[real], wanted["logits"][real]),
        "token_logprobs": worst(logps[real[:, 1:]], wanted["token_logprobs"][real[:, 1:]]),
        "adapter logits": worst(out.logits.detach()[real], read("lora_outputs")["logits"][real]),
        "lora_grads": max(worst(grads[name], want) for name, want in read("lora_grads").items()),
    }


for title, rounded, dtype in (
    ("weights rounded to f16, sums in f64", True, torch.float64),
    ("sums in f32", False, torch.float32),
):
    print(title)
    for name, value in distances(rounded, dtype).items():
        print(f"  {name:16} {value:.2e}")
