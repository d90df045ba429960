"""Drawn photos and timm's pixels of them: run with timm installed to add to `timm_pixels.npz`.

The photos are drawn by number, so that the file holds a few pixels of each and nothing else, under
the release of Pillow that timm resized with. Before 13.0, Pillow resizes the width first, and since
then the height of tall photos: each pass rounds and clips, so 28 of the 200 differ, by up to 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

FILE = Path(__file__).with_suffix(".npz")
COUNT, SAMPLES = 200, 8


def photo(number: int) -> Image.Image:
    """An image of an odd size, whose pixels all differ."""
    rng = np.random.default_rng(number)
    height, width = (int(side) for side in rng.integers(9, 260, 2))
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def settings(number: int) -> dict[str, Any]:
    """A `pretrained_cfg` as timm writes it."""
    rng = np.random.default_rng((number, 1))
    side = int(rng.choice([31, 32, 48, 64]))
    return {
        "input_size": [3, side, side],
        "crop_pct": float(rng.choice([0.8, 0.875, 0.9, 0.95, 1.0])),
        "crop_mode": str(rng.choice(["center", "center", "squash"])),
        "interpolation": str(rng.choice(["bicubic", "bilinear"])),
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }


def sampled(number: int, pixels: np.ndarray) -> np.ndarray:
    """Some of the model's pixels, `[sample, 3]`, the corners among them."""
    height, width = pixels.shape[:2]
    rng = np.random.default_rng((number, 2))
    rows, columns = rng.integers(0, height, SAMPLES), rng.integers(0, width, SAMPLES)
    rows[:4], columns[:4] = [0, 0, height - 1, height - 1], [0, width - 1, 0, width - 1]
    return pixels[rows, columns]


def timm_pixels(image: Image.Image, config: dict[str, Any]) -> np.ndarray:
    """What timm's own evaluation transform makes of a photo, in grey levels."""
    from timm.data import create_transform, resolve_data_config

    transform = create_transform(**resolve_data_config(pretrained_cfg=config), is_training=False)
    array = np.moveaxis(transform(image).numpy().astype(np.float64), 0, -1)
    return np.rint((array * config["std"] + config["mean"]) * 255).astype(np.uint8)


if __name__ == "__main__":
    import timm

    found = np.stack([sampled(n, timm_pixels(photo(n), settings(n))) for n in range(COUNT)])
    known = dict(np.load(FILE)) if FILE.exists() else {}
    name = f"timm {timm.__version__}, Pillow {PIL.__version__}"
    np.savez_compressed(FILE, allow_pickle=False, **(known | {name: found}))
