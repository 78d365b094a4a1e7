"""x·Wᵀ and dy·W of up_proj in bf16 and in f32 without TF32: python bench/torch/matmul.py [--tokens 4096] [--rounds 5]"""

import torch

from common import DEVICE, SHAPES, options, print_row, rounds_of

args = options(tokens=4096)
tokens, hidden, inner = args.tokens, SHAPES["hidden_size"], SHAPES["intermediate_size"]
torch.backends.cuda.matmul.allow_tf32 = False
for dtype, name in [(torch.bfloat16, "bf16"), (torch.float32, "f32")]:
    x = torch.randn(tokens, hidden, device=DEVICE, dtype=dtype)
    dy = torch.randn(tokens, inner, device=DEVICE, dtype=dtype)
    w = torch.randn(inner, hidden, device=DEVICE, dtype=dtype)
    flops = 2 * tokens * hidden * inner
    for what, shape, run in [
        ("x·Wᵀ up_proj", f"[{tokens},{hidden}]→{inner}", lambda: x @ w.T),
        ("dy·W up_proj", f"[{tokens},{inner}]→{hidden}", lambda: dy @ w),
    ]:
        print_row(f"{what} {name}", shape, name, rounds_of(run, args.rounds), flops)
