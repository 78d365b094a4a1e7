"""Images of odd sizes and formats, and what transformers' processor of Qwen3.5 makes of them.

python images.py FOLDER: writes the images, FOLDER/images.json with grids and settings, and NAME.f32 with the patches.
"""

import json
import sys
from pathlib import Path

import numpy
from PIL import Image, ImageOps
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SETTINGS = {
    "patch_size": 16,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
# width, height, format, EXIF orientation, least and most pixels
CASES = [
    (1, 1, "png", 1, 65536, 16777216),
    (3, 500, "png", 1, 65536, 16777216),
    (31, 33, "png", 1, 1024, 4096),
    (48, 80, "webp", 1, 1024, 65536),
    (100, 75, "jpeg", 6, 1024, 65536),
    (101, 67, "jpeg", 8, 4096, 65536),
    (127, 255, "png", 3, 4096, 65536),
    (160, 160, "jpeg", 1, 4096, 16384),
    (199, 3, "png", 1, 4096, 65536),
    (224, 224, "webp", 1, 4096, 65536),
    (255, 129, "png", 2, 65536, 16777216),
    (256, 256, "jpeg", 5, 65536, 16777216),
    (257, 191, "png", 4, 65536, 16777216),
    (300, 41, "jpeg", 7, 65536, 16777216),
    (333, 333, "png", 1, 65536, 65536),
    (400, 300, "webp", 6, 65536, 131072),
    (511, 97, "jpeg", 1, 65536, 16777216),
    (640, 448, "png", 1, 65536, 16777216),
    (641, 449, "jpeg", 1, 65536, 262144),
    (799, 601, "png", 1, 65536, 131072),
]


def main(folder: Path) -> None:
    random = numpy.random.default_rng(19)
    made = []
    for i, (width, height, kind, orientation, least, most) in enumerate(CASES):
        # waves with noise: edges and smooth parts
        y, x = numpy.mgrid[0:height, 0:width]
        waves = [127 + 100 * numpy.sin(x / (3 + 5 * c) + y / (7 - 2 * c)) for c in range(3)]
        pixels = numpy.stack(waves, axis=-1) + random.normal(0, 20, (height, width, 3))
        image = Image.fromarray(numpy.clip(pixels, 0, 255).astype(numpy.uint8))
        if kind == "png" and i % 2 == 0:
            image.putalpha(Image.fromarray(random.integers(0, 256, (height, width), dtype=numpy.uint8)))
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"{i}.{kind}"
        image.save(folder / name, **({} if orientation == 1 else {"exif": exif}), **({"lossless": True} if kind == "webp" else {}))
        # as transformers' load_image
        opened = ImageOps.exif_transpose(Image.open(folder / name)).convert("RGB")
        processor = Qwen2VLImageProcessorPil(**SETTINGS, size={"shortest_edge": least, "longest_edge": most})
        result = processor(images=[opened], return_tensors="np")
        result["pixel_values"].astype("<f4").tofile(folder / f"{name}.f32")
        size = {"shortest_edge": least, "longest_edge": most}
        made.append({"name": name, "size": size, "grid": result["image_grid_thw"][0].tolist()})
    (folder / "images.json").write_text(json.dumps({"settings": SETTINGS, "images": made}))


main(Path(sys.argv[1]))
