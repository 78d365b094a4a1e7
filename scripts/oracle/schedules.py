"""Learning rates of transformers' schedulers and of torch's ReduceLROnPlateau, a value a step.

    python schedules.py > tests/train/schedules.json
"""

import json

import torch
import transformers
from transformers import get_scheduler

LR = 3e-4
CASES = [
    ("cosine_with_restarts", {}, 3, 20),
    ("cosine_with_restarts", {"num_cycles": 3}, 2, 17),
    ("polynomial", {}, 0, 10),
    ("polynomial", {"lr_end": 1e-5, "power": 2.5}, 4, 15),
    ("inverse_sqrt", {}, 5, 20),
    ("inverse_sqrt", {}, 0, 6),
    ("inverse_sqrt", {"timescale": 40}, 3, 12),
    ("warmup_stable_decay", {"num_decay_steps": 5}, 4, 20),
    ("warmup_stable_decay", {"num_decay_steps": 6, "num_stable_steps": 3, "min_lr_ratio": 0.1}, 3, 16),
    ("warmup_stable_decay", {"num_decay_steps": 6, "warmup_type": "cosine", "decay_type": "linear"}, 5, 15),
    (
        "warmup_stable_decay",
        {"num_decay_steps": 8, "warmup_type": "1-sqrt", "decay_type": "1-sqrt", "min_lr_ratio": 0.05},
        5,
        16,
    ),
    ("warmup_stable_decay", {"num_decay_steps": 7, "num_cycles": 1.5}, 0, 12),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-5}, 4, 14),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.2, "warmup_lr_rate": 0.3}, 4, 14),
]
METRICS = [2.0, 1.5, 1.4999, 1.6, 1.7, 1.4, 1.41, 1.42, 1.43, 1.44, 1.45, 1.46, 1.2, 1.3, 1.3, 1.3, 1.3, 1.3]
PLATEAUS = [
    {"mode": "min", "patience": 1},
    {"mode": "min", "patience": 0, "factor": 0.5, "cooldown": 2},
    {"mode": "max", "patience": 2, "factor": 0.3, "threshold": 0.2, "threshold_mode": "abs"},
    {"mode": "min", "patience": 1, "factor": 0.1, "min_lr": 2e-5, "eps": 1e-6},
]


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def schedule(name, kwargs, warmup_steps, max_steps):
    own = optimizer()
    scheduler = get_scheduler(name, own, warmup_steps, max_steps, dict(kwargs))
    lr = []
    for _ in range(max_steps):
        lr.append(own.param_groups[0]["lr"])
        own.step()
        scheduler.step()
    return {
        "lr_scheduler_type": name,
        "kwargs": kwargs,
        "learning_rate": LR,
        "warmup_steps": warmup_steps,
        "max_steps": max_steps,
        "lr": lr,
    }


def plateau(kwargs):
    own = optimizer()
    scheduler = get_scheduler("reduce_lr_on_plateau", own, scheduler_specific_kwargs=dict(kwargs))
    lr = []
    for metric in METRICS:
        scheduler.step(metric)
        lr.append(own.param_groups[0]["lr"])
    return {"kwargs": kwargs, "learning_rate": LR, "metrics": METRICS, "lr": lr}


print(
    json.dumps(
        {
            "versions": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
            "schedules": [schedule(*case) for case in CASES],
            "plateaus": [plateau(kwargs) for kwargs in PLATEAUS],
        },
        indent=1,
    )
)
