"""The figures of "Relevance" in `docs/reference/methods.md`.

Run by `python docs/notebook/methods_relevance.py`.

Which published rule of `lrp` multiplies relevance, and which makes it unsteady: rules are exchanged
one at a time, on drawn scenes and the embedded model.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxattr import checkpoints as models
from jaxattr import losses, metrics
from jaxattr.bench.explanations import trials
from jaxattr.data import images
from jaxattr.gradients import relevance
from jaxattr.gradients.sites import image_gradient, in_float64, per_patch
from jaxattr.metrics.sensitivity import RADIUS
from jaxattr.vit import Rules

SCENES, SHAKEN, DRAWS = 50, 25, 10


def main() -> None:
    """Print sums of relevance at each block and at the pixels, and changes under noise."""
    model = models.load("scenes")
    asked = trials.one_object(SCENES, 0, model.config.image_size[0], model.config.grid)
    arrays = np.stack([images.normalize(one, model.preprocessing) for one in asked.images])
    noise = jax.random.uniform(
        jax.random.key(0), (DRAWS, *arrays.shape[1:]), minval=-RADIUS, maxval=RADIUS
    )
    for name, rules in variants(model.config.activation).items():
        run = jax.jit(lambda model, image, label, rules=rules: both(model, image, label, rules))
        found = [run(model, *one) for one in zip(arrays, asked.label, strict=True)]
        blocks, maps = (np.stack([np.asarray(one[i]) for one in found]) for i in (0, 1))
        sums = np.abs(maps.sum(axis=(1, 2), dtype=np.float64))
        shaken = [
            [np.asarray(run(model, arrays[i] + one, asked.label[i])[1]) for i in range(SHAKEN)]
            for one in noise
        ]
        changes = metrics.max_sensitivity(maps[:SHAKEN], np.array(shaken))
        print(f"{name}: blocks {np.round(np.median(np.abs(blocks), axis=0), 2)}, pixels")
        print(f"  {np.median(sums):.2f}, at most {sums.max():.3g}; under noise", end=" ")
        print(f"{changes.mean():.2f}, median {np.median(changes):.2f}", flush=True)

    cancelled(model, arrays, asked.label)


def cancelled(model, arrays, labels) -> None:
    """Print what cancels at the residual sums, in values and relevance, by block and sum."""
    activation = model.config.activation
    sets = {
        "attn_lrp": relevance.attn_lrp(activation),
        "res_lrp": relevance.res_lrp(activation, 1.0),
    }
    for name, rules in sets.items():

        def shares(model, image, loss, rules=rules):
            return jnp.stack(relevance.cancellation(model, image, loss, rules))

        @jax.jit
        def run(model, image, label, shares=shares):
            return in_float64(shares, model, image, losses.target_logit(label))

        found = np.stack([run(model, *one) for one in zip(arrays, labels, strict=True)])
        of_values, of_relevance = np.round(np.median(found, axis=0), 2)
        whole = np.median(found[:, 1].prod(axis=(1, 2)))
        print(f"{name}: values {of_values.ravel()}, relevance {of_relevance.ravel()},")
        print(f"  all sums together {whole:.3g}", flush=True)


def variants(activation: str) -> dict[str, Rules]:
    """The published sets, and `orig` with one rule exchanged."""
    orig, ours = (relevance.chefer(activation, name) for name in ("orig", "ours"))
    return {
        "orig": orig,
        "ours": ours,
        "orig with the linear rule of ours": replace(orig, dense=ours.dense),
        "orig with a residual rule by magnitude": replace(
            orig, residual=by_magnitude, positions=by_magnitude
        ),
    }


@jax.custom_vjp
def by_magnitude(skip, branch):
    """A sum whose relevance is shared by magnitude, so that nothing cancels."""
    return skip + branch


def _share(parts, carried):
    sizes = [jnp.abs(part) for part in parts]
    total = sizes[0] + sizes[1]
    return tuple(carried * size / jnp.where(total > 0, total, 1) for size in sizes)


by_magnitude.defvjp(lambda skip, branch: (skip + branch, (skip, branch)), _share)


def both(model, image, label, rules: Rules):
    """Sums at the blocks' inputs, and the map."""
    loss = losses.target_logit(label)

    def blocks(model, image, loss):
        return relevance.conservation(model, image, loss, rules)

    def pixels(model, image, loss):
        return per_patch(model.config, image_gradient(model, image, loss, rules=rules))

    return tuple(in_float64(one, model, image, loss) for one in (blocks, pixels))


if __name__ == "__main__":
    main()
