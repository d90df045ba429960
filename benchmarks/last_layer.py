"""Why sums of last-layer tokens score like noise on drawn scenes: sign, and what the layer carries.

    jaxattr bench methods -n 50 -m grad_cam --output out       (draws the scenes)
    python benchmarks/last_layer.py out/scenes

For each method its map S and |S|: deletion, insertion, SaCo, mean IoU and average precision against
the mask, the share of |S| on the object, and the share of the object's patches below zero. Then,
for each block, the label's logit when the values of all patches there are replaced by their mean,
so that this block's attention can tell no patch from another.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxattr import losses, metrics
from jaxattr.bench.methods import scoring as method_metrics
from jaxattr.bench.methods.maps import Explainer, Row
from jaxattr.checkpoints import load
from jaxattr.data import images
from jaxattr.data.dataset import index
from jaxattr.gradients import over_images
from jaxattr.gradients.sites import at_layer
from jaxattr.methods import METHODS
from jaxattr.metrics.context import Fellows
from jaxattr.vit import forward

NAMES = ("grad_cam", "layer_cam", "hires_cam", "xgrad_cam", "grad_eclip", "complete")
EARLIER = "grad_cam", "hires_cam"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenes", type=Path, help="with the folders images and masks")
    parser.add_argument("--count", type=int, default=50)
    arguments = parser.parse_args()
    model = load("scenes")
    root = arguments.scenes / "images"
    found = index(root, model.labels, limit=arguments.count, seed=0)
    photos = np.stack([images.preprocess(root / one, model.preprocessing) for one in found.files])
    masks = np.stack([_mask(arguments.scenes / "masks" / one) for one in found.files])
    labels = found.targets.astype(np.int32)
    shard = method_metrics.Shard(photos, labels, found.files, {}, np.ones(len(labels), bool), masks)

    def explain(name: str, **options: Any) -> np.ndarray:
        def one(image: Any, label: Any) -> Any:
            return METHODS[name].function(model, image, losses.target_logit(label), **options)

        return np.asarray(jax.jit(partial(over_images, one))(photos, labels))

    maps = {name: explain(name) for name in NAMES}
    for name in EARLIER:
        middle = model.config.layers // 2
        maps[f"{name}, layer {middle}"] = explain(name, layer=middle)
    print(_table(Explainer(model, model, 0), shard, maps))
    print("\n| patches' values at their mean in block | logit | probability |\n|---|--:|--:|")
    for layer in (None, *range(model.config.layers)):
        logit, probability = _without(model, photos, labels, layer)
        print(f"| {'none' if layer is None else layer} | {logit:.2f} | {probability:.3f} |")


def _mask(path: Path) -> np.ndarray:
    values = np.asarray(Image.open(path.with_suffix(".png")))
    return (values.reshape(*values.shape[:2], -1) != 0).any(axis=-1)


def _table(explainer: Explainer, shard: Any, maps: dict[str, np.ndarray]) -> str:
    lines = [
        "| map | on the object | object below 0 | deletion ↓ | insertion ↑ | SaCo ↑ | IoU ↑ "
        "| AP ↑ |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, signed in maps.items():
        region = metrics.pool(shard.masks, (signed.shape[1], signed.shape[2]))
        for title, one in ((name, signed), (f"\\|{name}\\|", np.abs(signed))):
            share = np.mean((np.abs(one) * region).sum((1, 2)) / np.abs(one).sum((1, 2)))
            below = np.mean([(s[r >= 0.5] < 0).mean() for s, r in zip(one, region, strict=True)])
            faithful = [
                np.nanmean(metrics.METRICS[metric].score(_context(explainer, shard, one)))
                for metric in ("deletion", "insertion", "saco")
            ]
            _, iou, precision = (np.nanmean(v) for v in metrics.segmentation(one, shard.masks))
            cells = [share, below, *faithful, iou, precision]
            lines.append(f"| {title} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    return "\n".join(lines)


def _context(explainer: Explainer, shard: Any, maps: np.ndarray) -> metrics.Context:
    row = Row("map", None, "none")
    nothing = Fellows(shard.labels[:0], shard.images[:0])
    part = shard._replace(maps={row.name: maps})
    return method_metrics.context(explainer, row, part, lambda: nothing)


def _without(model: Any, photos: Any, labels: Any, layer: int | None) -> tuple[float, float]:
    prefix = model.config.prefix_tokens

    def one(image: Any, label: Any) -> Any:
        logits, taps = forward(model, image)
        if layer is not None:
            value = taps.value[layer]
            mean = value[:, prefix:].mean(axis=1, keepdims=True)
            patches = jnp.broadcast_to(mean, value[:, prefix:].shape)
            value = jnp.concatenate([value[:, :prefix], patches], axis=1)
            changed = at_layer(model.config, layer, value=value)
            logits, _ = forward(model, image, replace=changed)
        return jnp.stack([logits[label], jax.nn.softmax(logits)[label]])

    logit, probability = jax.jit(partial(over_images, one))(photos, labels).mean(axis=0)
    return float(logit), float(probability)


if __name__ == "__main__":
    main()
