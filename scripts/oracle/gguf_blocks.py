"""Compares the blocks of quantised GGUF files with those that llama.cpp's own package makes of the same weights:

python gguf_blocks.py BF16.gguf FILE.gguf...   (BF16: an export of the same model with --quantization bf16; needs gguf, numpy)
"""

import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize, quantize

exact, *files = sys.argv[1:]
source = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(exact).tensors}
for path in files:
    tensors = GGUFReader(path).tensors
    assert {t.name for t in tensors} == set(source), path
    kinds: dict[str, list] = {}
    for t in tensors:
        want = source[t.name]
        got = dequantize(t.data, t.tensor_type)
        assert got.shape == want.shape, (t.name, got.shape, want.shape)
        bytes_equal = np.array_equal(np.asarray(t.data).view(np.uint8), quantize(want, t.tensor_type).view(np.uint8))
        error = np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)
        kinds.setdefault(t.tensor_type.name, []).append((bytes_equal, error, t.name))
    for kind, rows in kinds.items():
        other = [name for equal, _, name in rows if not equal]
        print(f"{path}: {kind}: {len(rows) - len(other)} of {len(rows)} tensors have its bytes; largest error {max(e for _, e, _ in rows):.2e} of a tensor's largest value{'; other bytes: ' + ', '.join(other[:4]) if other else ''}")
