"""Reads a GGUF file of Qwen3.5 with llama.cpp's own package, undoes the conversion, and compares transformers' logits:

python gguf_qwen35.py FILE.gguf MODEL   (MODEL: the folder of the merged model; needs gguf, torch, transformers)
"""

import sys

import numpy as np
import torch
from gguf import MODEL_ARCH, GGUFReader, get_tensor_name_map
from gguf.quants import dequantize
from transformers import AutoConfig, Qwen3_5ForCausalLM

path, folder = sys.argv[1:]
torch.set_num_threads(1)
reader = GGUFReader(path)


def field(key):
    return reader.get_field(f"qwen35.{key}").contents()


config = AutoConfig.from_pretrained(folder)
text = getattr(config, "text_config", config)
keys, values, size = field("ssm.group_count"), field("ssm.time_step_rank"), field("ssm.state_size")
assert reader.get_field("general.architecture").contents() == "qwen35"
assert (keys, values, size) == (text.linear_num_key_heads, text.linear_num_value_heads, text.linear_key_head_dim)
interval = field("full_attention_interval")
kinds = ["full_attention" if (i + 1) % interval == 0 else "linear_attention" for i in range(field("block_count"))]
assert kinds == list(text.layer_types), kinds


def grouped(tensor, unit, dim=0):
    """Value heads in turn -> by key head."""
    shape = list(tensor.shape)
    split = tensor.reshape(*shape[:dim], values // keys, keys, unit, *shape[dim + 1 :])
    return split.transpose(dim, dim + 1).reshape(shape)


def restored(name, tensor):
    if name.endswith("A_log"):
        return grouped(torch.log(-tensor), 1)
    if name.endswith("dt_bias"):
        return grouped(tensor, 1)
    if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return tensor - 1
    if name.endswith(("in_proj_qkv.weight", "conv1d.weight")):
        first = 2 * keys * size
        tensor = torch.cat([tensor[:first], grouped(tensor[first:], size)])
        return tensor.unsqueeze(1) if "conv1d" in name else tensor
    if name.endswith("in_proj_z.weight"):
        return grouped(tensor, size)
    if name.endswith(("in_proj_a.weight", "in_proj_b.weight")):
        return grouped(tensor, 1)
    if name.endswith("out_proj.weight"):
        return grouped(tensor, size, dim=1)
    return tensor


stored = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type), dtype=np.float32)) for t in reader.tensors}
names = get_tensor_name_map(MODEL_ARCH.QWEN35, len(kinds))
wanted = Qwen3_5ForCausalLM.from_pretrained(folder, dtype=torch.float32)
state, used = {}, set()
for name, value in wanted.state_dict().items():
    if name == "lm_head.weight" and text.tie_word_embeddings:
        continue
    asked = name.replace("dt_bias", "dt_proj.bias")
    own = names.get_name(asked, try_suffixes=(".weight", ".bias"))
    assert own in stored, f"{name}: the file has no {own}"
    used.add(own)
    state[name] = restored(name, stored[own])
    assert state[name].shape == value.shape, (name, state[name].shape, value.shape)
assert used == set(stored), set(stored) - used

got = Qwen3_5ForCausalLM(text).float()
got.load_state_dict(state, strict=False)
got.tie_weights()
ids = torch.tensor([[(7 * i * i + 3) % text.vocab_size for i in range(70)]])
with torch.no_grad():
    theirs, ours = wanted(ids).logits.double(), got.eval()(ids).logits.double()
print(f"{len(stored)} tensors, logits {((ours - theirs).abs().max() / theirs.abs().max()).item():.2e} from the model's")
