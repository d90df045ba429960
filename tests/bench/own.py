"""A method, a metric and a loss of one's own, from the rooms' docstrings, and a script of them.

`python own.py MODEL PHOTOS FOLDER` scores both; the command takes them as `own:occlusion` and
`own:peak` where this file lies.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxattr
from jaxattr.data.dataset import index
from jaxattr.methods import Cost, method
from jaxattr.metrics import Context, metric


@method(signed=True, differentiates="nothing", cost=Cost(forward=7), source="own")
def occlusion(model, image, loss):
    """What the loss loses when one patch becomes the mean colour."""
    (rows, columns), (down, right) = model.config.grid, model.config.patch_size
    whole = loss(jaxattr.predict(model, image))

    def without(place):
        mask = (jnp.arange(rows * columns) == place).reshape(rows, columns)
        hidden = mask.repeat(down, axis=0).repeat(right, axis=1)[..., None]
        return whole - loss(jaxattr.predict(model, jnp.where(hidden, 0, image)))

    return jax.lax.map(without, jnp.arange(rows * columns)).reshape(rows, columns)


@metric(id="peak-v1", better="higher", definition="the largest share of |S|", cost="0")
def peak(context: Context) -> np.ndarray:
    """Of every image."""
    size = np.abs(context.maps)
    return size.max(axis=(1, 2)) / size.sum(axis=(1, 2))


def above_mean(class_):
    """A loss: the logit of a class above the mean of all."""
    return lambda logits: logits[class_] - logits.mean()


if __name__ == "__main__":
    model = jaxattr.load(sys.argv[1])
    photos = index(Path(sys.argv[2]), model.labels)
    found = jaxattr.bench.methods(
        model, photos, Path(sys.argv[3]), methods=[occlusion, "complete"], measured=[peak, "saco"]
    )
    for one in found.scores:
        print(one.metric, one.method, one.model, one.value)
