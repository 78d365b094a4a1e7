"""Steps of transformers' Adafactor in float64: prints tests/kernels/optimizer/optimizers.json.

    python scripts/oracle/optimizers.py > tests/kernels/optimizer/optimizers.json

Adafactor has the settings of transformers' Trainer: no relative steps, no scaling by the parameter.
"""

import json

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


shapes = [(5,), (3, 4), (7, 2), (1, 6), (4, 1, 3)]
out = {
    "source": f"transformers {transformers.__version__}",
    "adafactor": [steps(adafactor, shape, lr, decay) for shape, (lr, decay) in zip(shapes, [(1e-2, 0.1), (1e-3, 0.0), (0.5, 0.01), (1e-2, 0.1), (1e-2, 0.0)])],
}
print(json.dumps(out))
