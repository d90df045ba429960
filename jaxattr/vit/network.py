"""The Vision Transformer: one image in, logits and every tap out.

Flax Linen names the parameters and does nothing else: taps are arguments and return values, there
is no collection but `params`. Layers are a Python loop over per-layer parameters, because XLA
copies every slice of a stacked parameter on CPU.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.core import Tracer
from jaxtyping import Float, PRNGKeyArray

from jaxattr.errors import ImageError, JaxattrError
from jaxattr.vit import nonlinear
from jaxattr.vit.config import Preprocessing, ViTConfig
from jaxattr.vit.model import Model
from jaxattr.vit.nonlinear import ACTIVATIONS, at_least_float32
from jaxattr.vit.rules import Rules
from jaxattr.vit.taps import Image, Logits, Taps


class Dense(nn.Module):
    """An affine map; `columns` computes only that range of its outputs."""

    features: int
    use_bias: bool
    dtype: str
    rules: Rules = Rules()

    @nn.compact
    def __call__(self, x: Array, columns: tuple[int, int] | None = None) -> Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.truncated_normal(0.02), shape, self.dtype)
        start, stop = columns or (0, self.features)
        if columns is not None:
            kernel = lax.slice_in_dim(kernel, start, stop, axis=1)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.dtype)
            bias = bias[start:stop]
        return (self.rules.dense or nonlinear.dense)(str(self.name), x, kernel, bias)


class LayerNorm(nn.Module):
    """Scale and bias around `normalize`, which carries the statistics."""

    epsilon: float
    dtype: str
    rules: Rules

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), self.dtype)
        normalized = (self.rules.normalize or nonlinear.normalize)(x, self.epsilon)
        return (self.rules.affine or nonlinear.affine)(normalized, scale, bias)


class Block(nn.Module):
    """One pre-norm encoder block.

    With `queries=n` only the first n tokens are carried past the attention: exact for the last
    block of a model whose head reads only those tokens, and cheaper.
    """

    config: ViTConfig
    rules: Rules = Rules()
    queries: int | None = None

    def setup(self) -> None:
        c = self.config
        linear = partial(Dense, dtype=c.dtype, rules=self.rules)
        norm = partial(LayerNorm, c.layer_norm_epsilon, c.dtype, self.rules)
        self.norm1 = norm()
        self.qkv = linear(3 * c.hidden_size, c.qkv_bias)
        self.projection = linear(c.hidden_size, True)
        self.norm2 = norm()
        self.fc1 = linear(c.mlp_size, True)
        self.fc2 = linear(c.hidden_size, True)

    def __call__(self, x: Array, add: Taps, replace: Taps) -> tuple[Array, Taps]:
        taps: dict[str, Array] = {}
        queries = x.shape[0] if self.queries is None else self.queries
        shapes = _tap_shapes(self.config, x.shape[0], queries)

        def tap(site: str, compute: Callable[[], Array]) -> Array:
            replaced, added = getattr(replace, site), getattr(add, site)
            for given in (replaced, added):
                if given is not None and given.shape != getattr(shapes, site):
                    raise JaxattrError(
                        f"taps: {site} has shape {given.shape} in a layer, the model's is "
                        f"{getattr(shapes, site)}; give the shape that forward returns."
                    )
            value = compute() if replaced is None else replaced
            taps[site] = value if added is None else value + added
            return taps[site]

        split, plus = self.rules.fork or nonlinear.fork, self.rules.residual or operator.add
        skip, x = split(tap("hidden", lambda: x))
        query, key, value = self._project(self.norm1(x), queries)
        query, key = tap("query", lambda: query), tap("key", lambda: key)
        value = tap("value", lambda: value)
        attention = tap("attention", lambda: self._attend(query, key))
        context = tap(
            "context", lambda: (self.rules.combine or nonlinear.combine)(attention, value)
        )
        merged = context.transpose(1, 0, 2).reshape(queries, self.config.hidden_size)
        skip, x = split(plus(skip[:queries], self.projection(merged)))
        activation = self.rules.activation or ACTIVATIONS[self.config.activation]
        x = plus(skip, self.fc2(activation(self.fc1(self.norm2(x)))))
        return x, Taps(**taps)

    def normalize_tokens(self, x: Array) -> Array:
        """The first LayerNorm."""
        return self.norm1(x)

    def project_tokens(self, x: Array) -> tuple[Array, Array, Array]:
        """Queries, keys and values of normalised tokens."""
        return self._project(x, x.shape[0])

    def _project(self, x: Array, queries: int) -> tuple[Array, Array, Array]:
        size = self.config.hidden_size
        if queries == x.shape[0]:
            parts = jnp.split(self.qkv(x), 3, axis=-1)  # indexing would transpose into pads
        else:
            query = self.qkv(x[:queries], (0, size))
            parts = [query, *jnp.split(self.qkv(x, (size, 3 * size)), 2, axis=-1)]
        heads = self.config.heads
        query, key, value = (
            part.reshape(part.shape[0], heads, -1).transpose(1, 0, 2) for part in parts
        )
        return query, key, value

    def _attend(self, query: Array, key: Array) -> Array:
        return (self.rules.softmax or nonlinear.softmax)(
            (self.rules.scores or nonlinear.scores)(query, key)
        )


def _tap_shapes(config: ViTConfig, tokens: int, queries: int) -> Taps:
    """The shape of each tap of one layer."""
    size = config.hidden_size // config.heads
    query, key = (config.heads, queries, size), (config.heads, tokens, size)
    attention = (config.heads, queries, tokens)
    return Taps(query, key, key, attention, query, (tokens, config.hidden_size))


class ViT(nn.Module):
    """The whole network, in pieces, so that gradients can be streamed block by block."""

    config: ViTConfig
    rules: Rules = Rules()

    def setup(self) -> None:
        c = self.config
        normal = nn.initializers.truncated_normal(0.02)
        shape = (*c.patch_size, c.channels, c.hidden_size)
        self.patch_kernel = self.param("patch_kernel", normal, shape, c.dtype)
        self.patch_bias = self.param("patch_bias", nn.initializers.zeros, shape[-1:], c.dtype)
        if c.class_token:
            self.class_token = self.param("class_token", normal, (1, c.hidden_size), c.dtype)
        if c.distilled:
            self.distillation_token = self.param(
                "distillation_token", normal, (1, c.hidden_size), c.dtype
            )
        self.positions = self.param("positions", normal, (c.tokens, c.hidden_size), c.dtype)
        self.blocks = [Block(c, self.rules) for _ in range(c.layers)]
        self.norm = LayerNorm(c.layer_norm_epsilon, c.dtype, self.rules)
        self.head = Dense(c.classes, True, c.dtype, self.rules)
        if c.distilled and c.distilled_head:
            self.head_distilled = Dense(c.classes, True, c.dtype, self.rules)

    def __call__(self, image: Array, add: list[Taps], replace: list[Taps]) -> tuple[Array, Taps]:
        x = self.embed(image)
        taps = []
        for block, added, replaced in zip(self.blocks, add, replace, strict=True):
            x, seen = block(x, added, replaced)
            taps.append(seen)
        stacked = jax.tree.map(lambda *layers: jnp.stack(layers), *taps)
        return self.classify(self.features(x)), stacked

    def embed(self, image: Array) -> Array:
        """Patches, times the kernel, behind the prefix tokens, plus positions."""
        (rows, columns), (height, width) = self.config.grid, self.config.patch_size
        x = image.astype(self.config.dtype).reshape(rows, height, columns, width, -1)
        x = x.transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
        kernel = self.patch_kernel.reshape(-1, self.config.hidden_size)
        tokens = [(self.rules.dense or nonlinear.dense)("patch", x, kernel, self.patch_bias)]
        if self.config.distilled:
            tokens.insert(0, self.distillation_token)
        if self.config.class_token:
            tokens.insert(0, self.class_token)
        return (self.rules.positions or operator.add)(jnp.concatenate(tokens), self.positions)

    def features(self, x: Array) -> Array:
        """What the heads read, `[read, hidden]`: one row, or two with a distillation token."""
        c = self.config
        if c.pooling == "class_token":
            return self.norm(x[: c.prefix_tokens])
        patches = x[c.prefix_tokens :]
        if c.pooling == "mean":
            return self.norm(patches).mean(axis=0, keepdims=True)
        return self.norm(patches.mean(axis=0, keepdims=True))

    def classify(self, features: Array) -> Array:
        """Logits, float32 at least; DeiT's two heads are averaged, as at its inference."""
        logits = self.head(features[0])
        if self.config.distilled and self.config.distilled_head:
            logits = (logits + self.head_distilled(features[1])) / 2
        return at_least_float32(logits)


def forward(
    model: Model,
    image: Image,
    *,
    add: Taps = Taps(),
    replace: Taps = Taps(),
    rules: Rules = Rules(),
) -> tuple[Logits, Taps]:
    """Compute the logits and every tap of one normalised image.

    A tap's value is `replace` where given, else computed, plus `add` where given. Differentiating
    with respect to a zero `add.attention` is the **total** derivative (through the queries and
    keys of later layers); with respect to `replace.attention` it is the **frozen** one.

    Args:
        image: `[height, width, channel]`, as `jaxattr.images.preprocess` returns it.
        add, replace: taps with a leading layer axis, or tuples of one entry a layer; `None`
            fields and entries are left alone.
        rules: exchanges functions of the network.

    Returns:
        Logits `[class]` and `Taps`. Taps that nobody reads cost nothing under `jit`.

    Raises:
        ImageError: the image has not the model's shape, is of whole numbers, as raw pixels are, or
            (outside `jit`, where values can be seen) is not normalised or not finite.
        JaxattrError: a tap has not the shape that the model's config asks for.
    """
    check_image(model, image)
    layers = model.config.layers
    module = ViT(model.config, rules)
    arguments = image, unstack(add, layers), unstack(replace, layers)
    result: Any = module.apply({"params": model.parameters}, *arguments)
    return result


def predict(model: Model, image: Image, *, rules: Rules = Rules()) -> Logits:
    """Only the logits of one image.

    As `forward` gives them, but without the rows of the last block that nobody reads.
    """
    check_image(model, image)
    return predict_tokens(model, apply(model, ViT.embed, image, rules=rules), rules=rules)


def predict_tokens(
    model: Model, tokens: Float[Array, "token hidden"], *, rules: Rules = Rules()
) -> Logits:
    """The logits of embedded tokens, any number of them; the prefix comes first."""
    return apply(model, ViT.classify, read(model, tokens, rules=rules), rules=rules)


def read(
    model: Model, tokens: Float[Array, "token hidden"], *, rules: Rules = Rules()
) -> Float[Array, "read hidden"]:
    """What the heads read of embedded tokens, behind all blocks and the last norm."""
    c, x = model.config, tokens
    for layer in range(c.layers):
        queries = read_queries(c, layer)
        every = None if queries == c.tokens else queries
        x, _ = apply_block(model, layer, x, queries=every, rules=rules)
    return apply(model, ViT.features, x, rules=rules)


def apply(
    model: Model,
    method: Callable[..., Any],
    *arguments: Any,
    rules: Rules = Rules(),
) -> Any:
    """Run one piece of the network: `ViT.embed`, `ViT.features` or `ViT.classify`."""
    return ViT(model.config, rules).apply({"params": model.parameters}, *arguments, method=method)


def apply_block(
    model: Model,
    layer: int,
    x: Array,
    add: Taps = Taps(),
    *,
    queries: int | None = None,
    rules: Rules = Rules(),
) -> tuple[Array, Taps]:
    """One block: `[token, hidden]` in, `[queries, hidden]` and its taps out."""
    c = model.config
    block = Block(c, rules, None if queries == c.tokens else queries)
    variables = {"params": _block(model, layer)}
    result: Any = block.apply(variables, x, add, Taps())
    return result


def normalized_tokens(
    model: Model, layer: int, hidden: Float[Array, "token hidden"]
) -> Float[Array, "token hidden"]:
    """What a block projects to queries, keys and values: the first LayerNorm of its input."""
    return _of_block(model, layer, Block.normalize_tokens, hidden)


def project_tokens(
    model: Model, layer: int, normalized: Float[Array, "token hidden"]
) -> tuple[Array, Array, Array]:
    """Queries, keys and values of a block, `[head, token, head_dim]` each."""
    return _of_block(model, layer, Block.project_tokens, normalized)


def project_context(
    model: Model, layer: int, context: Float[Array, "head token head_dim"]
) -> Float[Array, "token hidden"]:
    """What the heads of a block would write into the tokens, without the bias; linear."""
    merged = context.transpose(1, 0, 2).reshape(context.shape[1], -1)
    return merged @ _block(model, layer)["projection"]["kernel"]


def positions(model: Model) -> Float[Array, "token hidden"]:
    """The position embeddings, those of the prefix first."""
    return model.parameters["positions"]


def head_rows(model: Model) -> Float[Array, "class hidden"]:
    """The direction of each class in the feature that the head reads; two heads are added."""
    return jnp.stack([model.parameters[name]["kernel"] for name in _heads(model)]).sum(axis=0).T


def map_head(model: Model, function: Callable[[Array], Array], **config: Any) -> Model:
    """The model with `function` of its heads' kernels `[hidden, class]` and biases `[class]`.

    `config` are the fields of the config that change with it, such as `classes`.
    """
    changed = {name: jax.tree.map(function, model.parameters[name]) for name in _heads(model)}
    parameters = {**model.parameters, **changed}
    return replace(model, parameters=parameters, config=replace(model.config, **config))


def stages(model: Model) -> list[tuple[str, ...]]:
    """Names of parameters from the output to the input, for randomisation in cascade.

    The heads; the last block and the last norm; each earlier block; all that is left.
    """
    blocks = [(f"blocks_{layer}",) for layer in reversed(range(model.config.layers))]
    found = [_heads(model), (*blocks[0], "norm"), *blocks[1:]]
    taken = {name for stage in found for name in stage}
    return [*found, tuple(name for name in model.parameters if name not in taken)]


def _heads(model: Model) -> tuple[str, ...]:
    return tuple(name for name in ("head", "head_distilled") if name in model.parameters)


def _block(model: Model, layer: int) -> Any:
    return model.parameters[f"blocks_{layer % model.config.layers}"]


def _of_block(model: Model, layer: int, method: Callable[..., Any], x: Array) -> Any:
    block = Block(model.config, Rules(), None)
    return block.apply({"params": _block(model, layer)}, x, method=method)


def read_queries(config: ViTConfig, layer: int) -> int:
    """How many tokens of a block are read later: in the last, only those that the head reads."""
    last = layer == config.layers - 1 and config.pooling == "class_token"
    return config.prefix_tokens if last else config.tokens


def initialize(config: ViTConfig, key: PRNGKeyArray, **fields: Any) -> Model:
    """Make a `Model` with random parameters; `fields` are the other fields of `Model`."""
    empty = [Taps()] * config.layers
    image = jnp.zeros((*config.image_size, config.channels), config.dtype)
    parameters = jax.jit(ViT(config).init)(key, image, empty, empty)["params"]
    return Model(parameters, config, **fields)


def unstack(taps: Taps, layers: int) -> list[Taps]:
    """Take stacked taps apart into one `Taps` a layer.

    By `lax.split`: its transpose is one concatenation, that of indexing is a zero pad a layer.
    """
    if not isinstance(taps, Taps):
        raise JaxattrError(
            f"taps are a {type(taps).__name__}; give jaxattr.Taps, such as Taps(attention=...)."
        )
    split: dict[str, list[Array | None]] = {}
    for site, value in taps._asdict().items():
        if value is None:
            continue
        if len(value) != layers:
            raise JaxattrError(
                f"taps: {site} has a leading axis of {len(value)}, the model has {layers} "
                f"layers; stack one entry for each layer."
            )
        if isinstance(value, tuple):
            split[site] = list(value)
        else:
            split[site] = [part.squeeze(0) for part in lax.split(value, [1] * layers, axis=0)]
    return [Taps(**{site: parts[i] for site, parts in split.items()}) for i in range(layers)]


def check_image(model: Model, image: Any) -> None:
    """Raise `ImageError` where the image is not one that the model's preprocessing could give.

    Shape and type are looked at whenever this is traced; the values only where they are there,
    outside `jit`: NaN, infinity, and numbers far beyond those of a normalised image are refused.
    """
    config = model.config
    wanted = (*config.image_size, config.channels)
    if not isinstance(image, jax.Array | np.ndarray):
        raise ImageError(
            f"image is a {type(image).__name__}, the model needs an array of shape {wanted} "
            f"(height, width, channel); make it with jaxattr.images.preprocess."
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ImageError(
            f"image is of type {image.dtype}, the model needs normalised floating-point numbers; "
            f"make it with jaxattr.images.preprocess, or jaxattr.images.normalize raw pixels."
        )
    if image.shape != wanted:
        raise ImageError(
            f"image has shape {image.shape}, the model needs {wanted} (height, width, channel); "
            f"{_shape_advice(image.shape, wanted)}."
        )
    if isinstance(image, Tracer):
        return
    highest = float(np.max(np.abs(np.asarray(image, np.float32))))  # NaN where there is one
    if not highest <= _largest(model.preprocessing):
        raise ImageError(
            f"image holds {highest:g}, which a normalised image does not; make it with "
            f"jaxattr.images.preprocess, or jaxattr.images.normalize raw pixels."
        )


def _largest(preprocessing: Preprocessing) -> float:
    """Eight times what the preprocessing gives at most, and no less than 32."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    edges = (np.array([[0.0], [255.0]]) * preprocessing.rescale - mean) / std
    return max(32.0, 8 * float(np.abs(edges).max()))


def _shape_advice(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if shape[1:] == wanted:
        return "this is a batch: use jax.vmap or jaxattr.over_images"
    if shape == (wanted[2], *wanted[:2]):
        return "put the channels last"
    return "preprocess it with jaxattr.images.preprocess, or use jax.vmap for a batch"
