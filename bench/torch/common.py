"""What the torch benches share: Qwen2.5-0.5B's shapes, and rows as bench/rows.ts writes them."""

import argparse
import datetime
import json
import statistics
import subprocess
import time

import torch

SHAPES = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def options(**counts):
    """Command line with --rounds and the given counts."""
    parser = argparse.ArgumentParser()
    for name, default in {"rounds": 5, **counts}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def random_model(layers):
    """The model in bf16 with random weights, by its config; nothing is downloaded."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    config = Qwen2Config(**{**SHAPES, "num_hidden_layers": layers})
    with torch.device(DEVICE):
        return AutoModelForCausalLM.from_config(config, torch_dtype=torch.bfloat16)


def settle():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def rounds_of(run, rounds, worth_ms=20):
    """Milliseconds of one run, round by round; short runs are repeated, and two warm up."""
    run()
    settle()
    start = time.perf_counter()
    run()
    settle()
    times = max(1, min(200, int(worth_ms / (1000 * (time.perf_counter() - start)))))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(times):
            run()
        settle()
        taken.append(1000 * (time.perf_counter() - start) / times)
    return taken


def print_row(what, shape, dtype, taken, flops=None, tokens=None):
    """One line of bench/results.jsonl."""
    median = statistics.median(taken)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    row = {
        "commit": commit or "unknown",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "adapter": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "what": f"torch {torch.__version__}: {what}",
        "shape": shape,
        "dtype": dtype,
        "median_ms": median,
        "spread": (max(taken) - min(taken)) / median,
        "gflops": flops / median / 1e6 if flops else None,
        "ratio": None,
        "against": None,
    }
    if tokens:
        row["tokens_per_s"] = 1000 * tokens / median
    print(json.dumps(row), flush=True)
