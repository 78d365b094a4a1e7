"""One LoRA SFT step of Qwen2.5-0.5B's shapes, eager bf16 with gradient checkpointing, beside `npm run bench -- sft`.

pip install torch transformers peft; python bench/torch/sft.py [--sequences 4] [--length 1024] [--rank 16] [--rounds 5]
"""

import torch
from peft import LoraConfig, get_peft_model

from common import DEVICE, PROJECTIONS, SHAPES, options, print_row, random_model, rounds_of

args = options(sequences=4, length=1024, rank=16, layers=SHAPES["num_hidden_layers"])
base = random_model(args.layers)
base.config.use_cache = False
base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
base.enable_input_require_grads()
lora = LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
model = get_peft_model(base, lora).train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
ids = torch.randint(SHAPES["vocab_size"], (args.sequences, args.length), device=DEVICE)


def step():
    optimizer.zero_grad(set_to_none=True)
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()


# the count of bench/sizes.ts: nothing for what is computed again
linears = [m for name, m in base.named_modules() if name.rsplit(".", 1)[-1] in PROJECTIONS]
sizes = [(m.in_features, m.out_features) for m in linears]
tokens = args.sequences * args.length
flops = 4 * tokens * sum(i * o for i, o in sizes) + 6 * tokens * args.rank * sum(i + o for i, o in sizes)
flops += args.layers * 7 * args.sequences * args.length**2 * SHAPES["hidden_size"]
flops += 4 * SHAPES["vocab_size"] * SHAPES["hidden_size"] * args.sequences * (args.length - 1)
shape = f"{args.layers} layers, {args.sequences} × {args.length} tokens"
print_row("SFT step, PEFT", shape, "bf16", rounds_of(step, args.rounds), flops, tokens)
