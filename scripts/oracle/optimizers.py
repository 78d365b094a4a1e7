"""Steps of transformers' Adafactor and of torch.optim.Muon in float64: prints tests/kernels/optimizer/optimizers.json.

    python scripts/oracle/optimizers.py > tests/kernels/optimizer/optimizers.json

Adafactor has the settings of transformers' Trainer: no relative steps, no scaling by the parameter. Muon rounds the matrices of
its iteration to bf16; for these numbers they are float64. What that rounding does to a step goes to stderr.
"""

import json
import sys

import torch
import transformers

torch.set_num_threads(1)
torch.manual_seed(3)


def steps(optimizer_of, shape, lr, decay):
    param = torch.nn.Parameter(torch.randn(shape, dtype=torch.float64))
    start = param.detach().flatten().tolist()
    optimizer = optimizer_of([param], lr, decay)
    grads, want = [], []
    for _ in range(3):
        grad = torch.randn(shape, dtype=torch.float64) * 10.0 ** torch.randint(-4, 2, ()).item()
        param.grad = grad.clone()
        optimizer.step()
        grads.append(grad.flatten().tolist())
        want.append(param.detach().flatten().tolist())
    return {"shape": list(shape), "learning_rate": lr, "weight_decay": decay, "param": start, "grads": grads, "want": want}


def adafactor(params, lr, decay):
    return transformers.Adafactor(params, lr=lr, weight_decay=decay, scale_parameter=False, relative_step=False)


def muon(settings):
    return lambda params, lr, decay: torch.optim.Muon(params, lr=lr, weight_decay=decay, **settings)


def exact(make):
    """Runs with a `bfloat16` of tensors that keeps float64."""
    rounding = torch.Tensor.bfloat16
    torch.Tensor.bfloat16 = lambda tensor: tensor.clone()
    try:
        return make()
    finally:
        torch.Tensor.bfloat16 = rounding


def muon_steps(shape, lr, decay, **changed):
    plain = {"momentum": 0.95, "nesterov": True, "ns_steps": 5, "ns_coefficients": (3.4445, -4.7750, 2.0315), "adjust_lr_fn": "original"}
    settings = {**plain, **changed}
    state = torch.get_rng_state()
    made = exact(lambda: steps(muon(settings), shape, lr, decay))
    torch.set_rng_state(state)
    rounded = steps(muon(settings), shape, lr, decay)
    start = torch.tensor(made["param"])
    far = [torch.linalg.norm(torch.tensor(a) - torch.tensor(b)) / torch.linalg.norm(torch.tensor(a) - start) for a, b in zip(made["want"], rounded["want"])]
    print(f"muon {shape}: bf16 moves the steps by {max(far):.1e} of their length", file=sys.stderr)
    return {**made, "settings": settings}


shapes = [(5,), (3, 4), (7, 2), (1, 6), (4, 1, 3)]
out = {
    "source": f"transformers {transformers.__version__}, torch {torch.__version__}",
    "adafactor": [steps(adafactor, shape, lr, decay) for shape, (lr, decay) in zip(shapes, [(1e-2, 0.1), (1e-3, 0.0), (0.5, 0.01), (1e-2, 0.1), (1e-2, 0.0)])],
    "muon": [
        muon_steps((3, 4), 1e-2, 0.1),
        muon_steps((7, 2), 0.02, 0.0),
        muon_steps((2, 9), 1e-3, 0.01, adjust_lr_fn="match_rms_adamw"),
        muon_steps((6, 3), 1e-2, 0.1, adjust_lr_fn="match_rms_adamw", nesterov=False, momentum=0.8),
        muon_steps((4, 4), 1e-2, 0.1, ns_steps=3, ns_coefficients=(2.0, -1.5, 0.5)),
    ],
}
print(json.dumps(out))
