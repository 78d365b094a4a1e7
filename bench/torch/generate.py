"""Greedy and sampled decoding of 16 sequences with transformers, beside `npm run bench -- generate`.

A decoding pass is the difference between a long and a short call, so that the prompt does not count.

pip install torch transformers; python bench/torch/generate.py [--batch 16] [--prompt 32] [--new 64] [--rounds 5]
"""

import torch

from common import DEVICE, SHAPES, options, print_row, random_model, rounds_of

args = options(batch=16, prompt=32, new=64, layers=SHAPES["num_hidden_layers"])
model = random_model(args.layers).eval()
ids = torch.randint(SHAPES["vocab_size"], (args.batch, args.prompt), device=DEVICE)
mask = torch.ones_like(ids)
SHORT = 4


def call(new, sampling):
    with torch.inference_mode():
        lengths = {"min_new_tokens": new, "max_new_tokens": new, "pad_token_id": 0}
        model.generate(input_ids=ids, attention_mask=mask, **lengths, **sampling)


for name, sampling in [
    ("greedy", {"do_sample": False}),
    ("sampled", {"do_sample": True, "temperature": 0.7, "top_k": 50, "top_p": 0.9}),
]:
    long = rounds_of(lambda: call(args.new, sampling), args.rounds)
    short = rounds_of(lambda: call(SHORT, sampling), args.rounds)
    passes = [(a - b) / (args.new - SHORT) for a, b in zip(long, short)]
    shape = f"{args.layers} layers of {SHAPES['hidden_size']}, batch {args.batch}"
    print_row(f"{name} {args.batch}, transformers", shape, "bf16", passes, tokens=args.batch)
