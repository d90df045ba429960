"""The network of `tiny_model` in NumPy and float64: 2 x 3 patches of 4 x 4, 3 layers, 2 heads."""

from __future__ import annotations

from math import erf, sqrt

import jax
import numpy as np


def with_biases(model):
    """The model with biases, which are zero at first, and scales that are not one."""

    def draw(path, leaf):
        if leaf.ndim > 1:
            return leaf
        key = jax.random.key(sum(map(ord, jax.tree_util.keystr(path))))
        return leaf + 0.3 * jax.random.normal(key, leaf.shape)

    return jax.tree_util.tree_map_with_path(draw, model)


def weights(model):
    """The parameters as they are named there."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.parameters)


def embed(w, image):
    """The patches' pixels, and the tokens without their positions."""
    patches = np.asarray(image, np.float64).reshape(2, 4, 3, 4, 3).transpose(0, 2, 1, 3, 4)
    patches = patches.reshape(6, 48)
    embedded = patches @ w["patch_kernel"].reshape(48, 12) + w["patch_bias"]
    return patches, np.concatenate([w["class_token"], embedded])


def block(w, x):
    """One block: every value that there is, by name."""
    kept = {"x": x, "n1": norm(w["norm1"], x)}
    q, k, v = (
        part.reshape(7, 2, 6).transpose(1, 0, 2)
        for part in np.split(dense(w["qkv"], kept["n1"]), 3, axis=1)
    )
    s = q @ k.transpose(0, 2, 1) / sqrt(6)
    a = np.exp(s) / np.exp(s).sum(axis=-1, keepdims=True)
    o = a @ v
    merged = o.transpose(1, 0, 2).reshape(7, 12)
    kept |= {"q": q, "k": k, "v": v, "s": s, "a": a, "o": o, "merged": merged}
    kept["b1"] = dense(w["projection"], merged)
    kept["mid"] = x + kept["b1"]
    kept["n2"] = norm(w["norm2"], kept["mid"])
    kept["h"] = dense(w["fc1"], kept["n2"])
    kept["g"] = kept["h"] * (1 + np.vectorize(erf)(kept["h"] / sqrt(2))) / 2
    kept["b2"] = dense(w["fc2"], kept["g"])
    return kept | {"out": kept["mid"] + kept["b2"]}


def dense(w, x):
    """An affine map."""
    return x @ w["kernel"] + w["bias"]


def deviation(x):
    """What LayerNorm divides by."""
    return np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)


def normalized(w, x):
    """LayerNorm without its scale and bias."""
    del w
    return (x - x.mean(axis=-1, keepdims=True)) / deviation(x)


def norm(w, x):
    """LayerNorm."""
    return normalized(w, x) * w["scale"] + w["bias"]


def logits(w, x):
    """What the head says of the class token."""
    return dense(w["head"], norm(w["norm"], x[0]))


def centred(x):
    """Without the mean of its features."""
    return x - x.mean(axis=-1, keepdims=True)


def carried(w, kept, parts, own):
    """`[origin, token, hidden]` through a block whose factors are those of the whole.

    `own` says, `[origin, token, 1]`, whose are the biases: 0 leaves them out.
    """
    value = _carried_dense(w["qkv"], _carried_norm(w["norm1"], parts, kept["x"], own), own)
    value = value[..., 24:].reshape(*parts.shape[:2], 2, 6)
    mixed = np.einsum("hqk,okhd->oqhd", kept["a"], value).reshape(parts.shape)
    return carried_past_attention(w, kept, parts + _carried_dense(w["projection"], mixed, own), own)


def carried_past_attention(w, kept, parts, own):
    """The second half of `carried`: from the sum behind the attention on."""
    inner = _carried_dense(w["fc1"], _carried_norm(w["norm2"], parts, kept["mid"], own), own)
    return parts + _carried_dense(w["fc2"], kept["g"] / kept["h"] * inner, own)


def carried_logits(w, x, parts, own):
    """What the head says of the class token's parts, without the head's own bias: `[origin]`."""
    return _carried_norm(w["norm"], parts, x, own)[:, 0] @ w["head"]["kernel"]


def _carried_norm(w, parts, whole, own):
    return centred(parts) / deviation(whole) * w["scale"] + own * w["bias"]


def _carried_dense(w, parts, own):
    return parts @ w["kernel"] + own * w["bias"]
