"""Reference vectors from the methods' authors, as models and tensors.

Every `group*.safetensors` in the golden folder whose metadata describe a ViT classifier is used,
whatever its sizes; files of other networks (CLIP) are left to the methods that need them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import golden_draws
import golden_table
import jax
import jax.numpy as jnp
import numpy as np
from conftest import GOLDEN
from jax.tree_util import Partial
from safetensors import safe_open
from sharing import QUICK, shared

from jaxattr import losses
from jaxattr.checkpoints.convert import from_tensors
from jaxattr.gradients import attention_gradients
from jaxattr.gradients.corrections import CORRECTIONS, corrected, rollout
from jaxattr.methods import METHODS
from jaxattr.vit import Model, ViTConfig, forward

# The golden keys that belong to the model, the paper's methods and the losses, without their `64`;
# those of all other methods are in `golden_table`.
KEYS = (
    "logits",
    "attentions",
    "attn_grads",
    "seed/rollout_eq1",
    *(
        f"{seed}/{kind}{loss}"
        for seed in ("seed", "seedlow")
        for kind in (
            *(f"{row}{kind}/" for row in ("", "row_") for kind in CORRECTIONS),
            "attn_grads/",
        )
        for loss in ("logit", "eq8", "diff", "ratio")
    ),
    "seed/loss_values",
    "seedlow/loss_values",
)
PRECISIONS = ("float32", "float64")
LOSSES = ("logit", "eq8", "diff", "ratio")


class Reference(NamedTuple):
    """One file: its tensors by name, and its network's sizes."""

    tensors: dict[str, np.ndarray]
    config: ViTConfig

    def model(self, dtype: str) -> Model:
        """The network in one precision."""
        weights = {
            name.removeprefix("weights/"): tensor.astype(dtype)
            for name, tensor in self.tensors.items()
            if name.removeprefix("weights/").startswith(("vit.", "classifier."))
        }
        config = replace(self.config, dtype=dtype)
        return Model(from_tensors(weights, config), config)


def files() -> list[Path]:
    """All classifier files of the golden folder."""
    return [path for path in sorted(GOLDEN.glob("group*.safetensors")) if _metadata(path)]


@cache
def names(path: Path) -> tuple[str, ...]:
    """The keys of one file."""
    with safe_open(path, "np") as file:
        return tuple(file.keys())


@cache
def read(path: Path) -> Reference:
    """Read one file."""
    entries = json.loads(_metadata(path))

    def entry(*names: str) -> Any:
        return next(entries[name] for name in names if name in entries)

    def pair(value: Any) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else tuple(value)

    config = ViTConfig(
        image_size=pair(entry("image", "image_size")),
        patch_size=pair(entry("patch", "patch_size")),
        hidden_size=entry("dim", "hidden_size"),
        layers=entry("depth", "num_hidden_layers"),
        heads=entry("heads", "num_attention_heads"),
        mlp_size=entry("mlp", "intermediate_size"),
        classes=entry("classes", "num_labels"),
        layer_norm_epsilon=entry("eps", "layer_norm_eps"),
    )
    with safe_open(path, "np") as file:
        return Reference({name: file.get_tensor(name) for name in file.keys()}, config)  # noqa: SIM118


@cache
def computed(path: Path, dtype: str) -> dict[str, np.ndarray]:
    """Everything of ours that a golden key names, under that key, without its `64`."""
    reference = read(path)
    with jax.enable_x64(dtype == "float64"):
        model = reference.model(dtype)
        images = reference.tensors["pixel_values"].transpose(0, 2, 3, 1).astype(dtype)
        logits, taps = jax.jit(jax.vmap(forward, in_axes=(None, 0)), compiler_options=QUICK)(
            model, images
        )
        ours = {"logits": logits, "attentions": taps.attention}
        targets = reference.tensors["targets"]
        if not any(name.startswith("seed") for name in reference.tensors):
            return {name: np.asarray(value) for name, value in ours.items()}
        ours |= _attributions(model, images, targets, "seed")
        ours["attn_grads"] = ours["seed/attn_grads/logit"]
        ours |= _class_agnostic(model, images, targets)
        if "seedlow_targets" in reference.tensors:
            low = _attributions(model, images, reference.tensors["seedlow_targets"], "seedlow")
            ours |= low
        return {name: np.asarray(value) for name, value in ours.items()}


def _attributions(model: Model, images: Any, targets: Any, prefix: str) -> dict[str, Any]:
    """All losses as one batch axis, so that each method is compiled once."""
    first, second = np.broadcast_arrays(targets[..., None], targets[:, ::-1, None])
    which = np.arange(len(LOSSES))
    made = jax.vmap(jax.vmap(jax.vmap(_any_loss), in_axes=(0, 0, None)), in_axes=(0, 0, None))
    repeated = [np.repeat(x, len(LOSSES), axis=-1) for x in (first, second)]
    loss = made(repeated[0], repeated[1], which)
    gradients = _batched(attention_gradients)(model, images, loss)
    call = jax.vmap(jax.vmap(jax.vmap(lambda one, logits: one(logits))))
    found: dict[str, Any] = {f"{prefix}/loss_values": call(loss, gradients.logits)}
    for kind, method in ((kind, METHODS[kind].function) for kind in CORRECTIONS):
        maps = _batched(method)(model, images, loss)
        row = partial(_row, kind)
        rows = jax.jit(jax.vmap(jax.vmap(jax.vmap(row))), compiler_options=QUICK)(
            gradients.attention, gradients.gradient
        )
        for i, name in enumerate(LOSSES):
            found[f"{prefix}/{kind}/{name}"] = maps[:, :, i].reshape(*targets.shape, -1)
            found[f"{prefix}/row_{kind}/{name}"] = rows[:, :, i]
            found[f"{prefix}/attn_grads/{name}"] = gradients.gradient[:, :, i]
    return found


def _row(kind: Any, attention: Any, gradient: Any) -> Any:
    return rollout(corrected(attention, gradient, kind))


def _any_loss(first: Any, second: Any, which: Any) -> Partial:
    return Partial(_choose, _made(first, second), which)


def _made(first: Any, second: Any) -> list[Any]:
    return [
        losses.target_logit(first),
        losses.relative_difference(first, second),
        losses.difference(first, second),
        losses.ratio(first, second),
    ]


def _choose(made: list[Any], which: Any, logits: Any) -> Any:
    return jnp.stack([loss(logits) for loss in made])[which]


def _batched(function: Any) -> Any:
    """Over losses, targets and images; jitted once."""
    over_losses = jax.vmap(function, in_axes=(None, None, 0))
    over_targets = jax.vmap(over_losses, in_axes=(None, None, 0))
    return jax.jit(jax.vmap(over_targets, in_axes=(None, 0, 0)), compiler_options=QUICK)


def _class_agnostic(model: Model, images: Any, targets: Any) -> dict[str, Any]:
    """Maps that do not depend on the loss, repeated over the targets as the vectors are."""

    def of(name: str, **options: Any) -> np.ndarray:
        method = partial(METHODS[name].function, **options)
        maps = jax.jit(jax.vmap(method, in_axes=(None, 0, None)), compiler_options=QUICK)(
            model, images, losses.target_logit(0)
        )
        return np.repeat(np.asarray(maps).reshape(len(images), 1, -1), targets.shape[1], axis=1)

    return {"seed/rollout_eq1": of("rollout")}


@cache
def maps(path: Path, dtype: str) -> dict[str, np.ndarray]:
    """What the table makes of one file, under its keys; all in one compiled function.

    In float32 one key a method: its options share what a precision can break.
    """
    reference = read(path)
    made = table_functions(path, dtype)
    with jax.enable_x64(dtype == "float64"), shared():
        images = reference.tensors["pixel_values"].transpose(0, 2, 3, 1).astype(dtype)
        targets = reference.tensors["targets"]
        draws = golden_draws.draws(reference.tensors, dtype)

        def one(model: Model, image: Any, target: Any, noise: Any) -> dict[str, Any]:
            loss = losses.target_logit(target)
            return {name: make(model, image, loss, noise) for name, make in made.items()}

        over_targets = jax.vmap(one, in_axes=(None, None, 0, 0))
        over_images = jax.vmap(over_targets, in_axes=(None, 0, 0, 0))
        function = jax.jit(over_images, compiler_options=QUICK)
        found = function(reference.model(dtype), images, targets, draws)
        once = golden_table.ONE_PER_IMAGE
        return {
            name: np.asarray(value)[:, 0] if golden_table.listed(name, once) else np.asarray(value)
            for name, value in found.items()
        }


@cache
def table_functions(path: Path, dtype: str) -> dict[str, golden_table.Function]:
    """What makes each key of a file that the table knows; in float32 the first of each method."""
    found: dict[str, golden_table.Function] = {}
    seen = set()
    for name in keys(path):
        if not golden_table.makers(name):
            continue
        function = golden_table.function(name, read(path).config)
        method = golden_table.method(function)
        if dtype == "float64" or (method and method not in seen):
            found[name] = function
            seen.add(method)
    return found


def keys(path: Path) -> list[str]:
    """The keys of one file without their `64`."""
    return sorted({name.replace("64/", "/").removesuffix("64") for name in names(path)})


def _metadata(path: Path) -> str:
    with safe_open(path, "np") as file:
        return (file.metadata() or {}).get("config", "")
