"""Loads what Qwench exported with the libraries that it is for, and prints JSON: logits of each, or what went wrong."""

import json
import sys
import warnings

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig

warnings.simplefilter("ignore")
base, lora, merged, four_bit, gguf_file, whole = sys.argv[1:7]
ids = torch.tensor([json.loads(sys.argv[7])])


def logits(model):
    model.eval()
    with torch.no_grad():
        return model(ids).logits[0].double().flatten().tolist()


def attempt(run):
    try:
        return run()
    except Exception as error:  # what a library says is the result
        return f"{type(error).__name__}: {error}"


def with_peft():
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(model, lora))


def four_bit_config():
    config = AutoConfig.from_pretrained(four_bit)
    quantization = BitsAndBytesConfig.from_dict(dict(config.quantization_config))
    return [quantization.bnb_4bit_quant_type, quantization.llm_int8_threshold, quantization.bnb_4bit_use_double_quant]


def gguf():
    from gguf import GGUFReader

    reader = GGUFReader(gguf_file)
    return [len(reader.tensors), str(bytes(reader.fields["general.architecture"].parts[-1]), "utf8")]


def trainer_state():
    from transformers import TrainerState

    state = TrainerState.load_from_json(f"{whole}/trainer_state.json")
    kinds = {name: type(getattr(state, name)).__name__ for name in ["global_step", "max_steps", "epoch", "num_input_tokens_seen"]}
    log = next(entry for entry in state.log_history if "loss" in entry)
    return {**kinds, "loss": type(log["loss"]).__name__, "step": type(log["step"]).__name__}


print(
    json.dumps(
        {
            "lora": attempt(with_peft),
            "merged": attempt(lambda: logits(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32))),
            "four_bit": attempt(four_bit_config),
            "gguf": attempt(gguf),
            "state": attempt(trainer_state),
            "tokenizer": attempt(lambda: AutoTokenizer.from_pretrained(merged)("a b").input_ids),
            "generation": attempt(lambda: GenerationConfig.from_pretrained(merged).to_dict()["eos_token_id"]),
        }
    )
)
