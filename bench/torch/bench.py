"""Products, a LoRA SFT step and decoding of Qwen2.5-0.5B's shapes with PyTorch, PEFT and transformers; weights are random.

Rows are those of bench/results.jsonl; `npm run bench -- torch rows.jsonl` measures ours beside them, on the same card:

    pip install torch transformers peft
    python bench/torch/bench.py > rows.jsonl
    npm run bench -- torch rows.jsonl

bench.py [matmul] [sft] [generate] [--rounds 5] [--layers 24]
"""

import argparse
import contextlib
import datetime
import json
import statistics
import subprocess
import sys
import time

import torch

SHAPES = {
    "model_type": "qwen2",
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
SEQUENCES, LENGTH, RANK = 4, 1024, 16
BATCH, PROMPT, SHORT, LONG = 16, 32, 4, 64


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


def commit():
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def print_row(what, shape, dtype, taken, flops=None, tokens=None, gflops=None):
    """One line of bench/results.jsonl."""
    median = statistics.median(taken)
    row = {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "adapter": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "what": f"torch {torch.__version__}: {what}",
        "shape": shape,
        "dtype": dtype,
        "median_ms": median,
        "spread": (max(taken) - min(taken)) / median if median else 0,
        "gflops": flops / median / 1e6 if flops else gflops,
        "ratio": None,
        "against": None,
    }
    if tokens:
        row["tokens_per_s"] = 1000 * tokens / median
    print(json.dumps(row), flush=True)


def peak_f32():
    """GFLOP/s of the card's f32 units (not its tensor cores) at its highest clock; None where that is not to be had."""
    if DEVICE != "cuda" or torch.version.hip:
        return None
    card = torch.cuda.get_device_properties(0)
    lanes = {(7, 0): 64, (7, 5): 64, (8, 0): 64}.get((card.major, card.minor), 128)  # CUDA's table of throughputs
    try:
        query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
        clock = float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None
    return 2 * lanes * card.multi_processor_count * clock / 1000


def matmul(args):
    """x·Wᵀ and dy·W of up_proj, in bf16 and in f32 without TF32."""
    torch.set_float32_matmul_precision("highest")
    tokens, hidden, inner = SEQUENCES * LENGTH, SHAPES["hidden_size"], SHAPES["intermediate_size"]
    flops = 2 * tokens * hidden * inner
    for dtype, name in [(torch.bfloat16, "bf16"), (torch.float32, "f32")]:
        x = torch.randn(tokens, hidden, device=DEVICE, dtype=dtype)
        dy = torch.randn(tokens, inner, device=DEVICE, dtype=dtype)
        w = torch.randn(inner, hidden, device=DEVICE, dtype=dtype)
        forward = rounds_of(lambda: x @ w.T, args.rounds)
        print_row(f"x·Wᵀ up_proj {name}", f"[{tokens},{hidden}]→{inner}", name, forward, flops)
        backward = rounds_of(lambda: dy @ w, args.rounds)
        print_row(f"dy·W up_proj {name}", f"[{tokens},{inner}]→{hidden}", name, backward, flops)
    peak = peak_f32()
    if peak:
        print_row("peak of f32", f"[{tokens},{hidden}]→{inner}", "f32", [flops / peak / 1e6], gflops=peak)


def random_model(layers):
    """The model in bf16 with random weights, by its config; nothing is downloaded."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    config = Qwen2Config.from_dict({**SHAPES, "num_hidden_layers": layers})
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(config)
    return model.to(torch.bfloat16)


def sft_flops(base, layers):
    """The count of bench/sizes.ts: nothing for what is computed again."""
    linears = [m for name, m in base.named_modules() if name.rsplit(".", 1)[-1] in PROJECTIONS]
    sizes = [(m.in_features, m.out_features) for m in linears]
    tokens = SEQUENCES * LENGTH
    flops = 4 * tokens * sum(i * o for i, o in sizes) + 6 * tokens * RANK * sum(i + o for i, o in sizes)
    flops += layers * 7 * SEQUENCES * LENGTH**2 * SHAPES["hidden_size"]
    return flops + 4 * SHAPES["vocab_size"] * SHAPES["hidden_size"] * SEQUENCES * (LENGTH - 1)


def sft(args):
    """A LoRA SFT step with gradient checkpointing: adapters in f32 under autocast, as TRL has them, and wholly in bf16."""
    from peft import LoraConfig, get_peft_model

    for name, f32 in [("autocast", True), ("bf16 adapters", False)]:
        base = random_model(args.layers)
        flops = sft_flops(base, args.layers)
        base.config.use_cache = False
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
        lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
        model = get_peft_model(base, lora, autocast_adapter_dtype=f32).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
        ids = torch.randint(SHAPES["vocab_size"], (SEQUENCES, LENGTH), device=DEVICE)

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE, dtype=torch.bfloat16) if f32 else contextlib.nullcontext():
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()

        shape = f"{args.layers} layers, {SEQUENCES} × {LENGTH} tokens"
        taken = rounds_of(step, args.rounds)
        print_row(f"SFT step, PEFT, {name}", shape, "bf16", taken, flops, SEQUENCES * LENGTH)
        del base, model, trained, optimizer, step
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def generate(args):
    """Greedy and sampled decoding; a pass is what a long call takes more than a short one, so that the prompt does not count."""
    model = random_model(args.layers).eval()
    ids = torch.randint(SHAPES["vocab_size"], (BATCH, PROMPT), device=DEVICE)
    mask = torch.ones_like(ids)

    def call(new, sampling):
        with torch.inference_mode():  # no EOS is configured, so every call makes all its tokens
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=new, pad_token_id=0, **sampling)

    shape = f"{args.layers} layers of {SHAPES['hidden_size']}, batch {BATCH}"
    for name, sampling in [
        ("greedy", {"do_sample": False}),
        ("sampled", {"do_sample": True, "temperature": 0.7, "top_k": 50, "top_p": 0.9}),
    ]:
        long = rounds_of(lambda: call(LONG, sampling), args.rounds)
        short = rounds_of(lambda: call(SHORT, sampling), args.rounds)
        passes = [(a - b) / (LONG - SHORT) for a, b in zip(long, short)]
        print_row(f"{name} {BATCH}, transformers", shape, "bf16", passes, tokens=BATCH)


KINDS = {"matmul": matmul, "sft": sft, "generate": generate}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="matmul|sft|generate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=SHAPES["num_hidden_layers"])
    args = parser.parse_args()
    unknown = [kind for kind in args.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"Cannot bench {unknown[0]}: one of {', '.join(KINDS)}")
    print(f"{DEVICE}, torch {torch.__version__}", file=sys.stderr)
    for kind in args.kinds or KINDS:
        KINDS[kind](args)


if __name__ == "__main__":
    main()
