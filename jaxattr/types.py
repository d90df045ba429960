"""What flows between the rooms: taps, rules, the model, and what a method promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
from jaxtyping import Array, Float

Image = Float[Array, "height width channel"]
Logits = Float[Array, "class"]
Map = Float[Array, "row column"]
MAX_PIXELS = 89_478_485
"""Pillow's own limit: a quarter of a gigabyte of 24-bit pixels."""
Loss = Callable[[Any], Any]  # Logits -> scalar; a pytree when it comes from `jaxattr.losses`


class Taps(NamedTuple):
    """The values inside the network that can be read, added to, replaced and differentiated.

    Every field is `None` (not there) or an array with a leading layer axis; in one layer's own
    taps that axis is missing. `None` is an empty pytree, so all JAX transformations pass over it.

    - `query`, `key`, `value`: `[layer, head, token, head_dim]`, before scaling;
    - `attention`: `[layer, head, token, token]`, after the softmax, rows sum to 1;
    - `context`: `[layer, head, token, head_dim]`, attention times value;
    - `hidden`: `[layer, token, hidden]`, the block's input.
    """

    query: Any = None
    key: Any = None
    value: Any = None
    attention: Any = None
    context: Any = None
    hidden: Any = None


@dataclass(frozen=True)
class ViTConfig:
    """The architecture of a Vision Transformer, hashable, so that it can be a static argument."""

    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    hidden_size: int
    layers: int
    heads: int
    mlp_size: int
    classes: int
    layer_norm_epsilon: float = 1e-6
    qkv_bias: bool = True
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu"] = "gelu"
    distilled: bool = False
    distilled_head: bool = True
    """Whether the distillation token, where there is one, has its own head."""
    class_token: bool = True
    pooling: Literal["class_token", "mean", "mean_then_norm"] = "class_token"
    """What the head reads: the class token; the mean of the normalised patches; or the patches'
    mean, normalised afterwards (timm's `fc_norm`)."""
    channels: int = 3
    dtype: str = "float32"
    problem: Literal["single_label", "multi_label", "regression"] = "single_label"
    """What the logits are, in transformers' words (`problem_type`): one of the classes (softmax;
    a single logit is a class or not, sigmoid); each class or not (sigmoid); numbers."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return (
            self.image_size[0] // self.patch_size[0],
            self.image_size[1] // self.patch_size[1],
        )

    @property
    def prefix_tokens(self) -> int:
        """Tokens before the patches: the class token and, in DeiT, the distillation token."""
        return int(self.class_token) + int(self.distilled)

    @property
    def tokens(self) -> int:
        """Prefix tokens plus patches."""
        return self.prefix_tokens + self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded photo becomes the model's input, as the checkpoint's own processor does it.

    `resize` is the size `(height, width)` of a plain resize, or one number: the length of the
    shorter side. `crop` is the centre crop that follows, or `None`. Pixels are multiplied by
    `rescale`, then `(pixel - mean) / std` per channel. One mean makes photos grey.
    """

    resize: tuple[int, int] | int | None
    crop: tuple[int, int] | None = None
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    rescale: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    crop_rounding: Literal["down", "even"] = "down"
    """Of half a pixel in the crop's offset: down as in transformers, or to the even number as in
    torchvision, and so in timm."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Of the channels in the model's input, and so of `mean` and `std`."""
    max_pixels: int = MAX_PIXELS
    """Photos of more pixels are refused, as possible decompression bombs."""

    def record(self) -> dict[str, Any]:
        """The fields for a receipt: what is at its default and came later is left out, so that a
        ledger of an earlier version still matches."""
        later = ("crop_rounding", "order", "max_pixels")
        usual = {one.name: one.default for one in fields(self) if one.name in later}
        every = asdict(self)
        return {key: every[key] for key in every if usual.get(key, ...) != every[key]}


@dataclass(frozen=True)
class Rules:
    """The functions of the network, exchangeable for LRP-type propagation (`jaxattr.relevance`).

    `None` is the real function; the real nonlinear ones have hand-written reverse-mode derivatives
    (`jaxattr.vit`), so exchange them for plain `jax.nn` ones to use forward mode.
    """

    softmax: Callable[[Any], Any] | None = None
    normalize: Callable[[Any, float], Any] | None = None
    activation: Callable[[Any], Any] | None = None
    affine: Callable[[Any, Any, Any], Any] | None = None
    """Of the normalised tokens, the scale and the bias of a LayerNorm."""
    dense: Callable[[str, Any, Any, Any], Any] | None = None
    """Of a name, the input `[token, in]` or `[in]`, the kernel `[in, out]` and the bias or `None`;
    names are patch, qkv, projection, fc1, fc2, head and head_distilled."""
    scores: Callable[[Any, Any], Any] | None = None
    """Scaled scores of queries and keys."""
    combine: Callable[[Any, Any], Any] | None = None
    """Attention times value."""
    residual: Callable[[Any, Any], Any] | None = None
    """The sum of a skip connection and its branch, and of tokens and positions."""
    fork: Callable[[Any], tuple[Any, Any]] | None = None
    """Where a skip connection leaves: `x -> (skip, branch)`."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["parameters"],
    meta_fields=["config", "labels", "preprocessing", "name", "notes"],
)
@dataclass(frozen=True)
class Model:
    """A Vision Transformer as a pytree: parameters are leaves, all else is static.

    Pass it to jitted functions as an argument; closing over it would bake the weights into the
    executable.
    """

    parameters: Any
    config: ViTConfig
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(None))
    name: str = ""
    notes: tuple[str, ...] = ()
    """What was assumed or changed in reading the checkpoint, a sentence each, for people to see."""

    def forward(
        self,
        image: Image,
        *,
        add: Taps = Taps(),  # noqa: B008  (immutable)
        replace: Taps = Taps(),  # noqa: B008
        rules: Rules = Rules(),
    ) -> tuple[Logits, Taps]:
        """Run the network on one normalised image, see `jaxattr.vit.forward`."""
        from jaxattr.vit import forward

        return forward(self, image, add=add, replace=replace, rules=rules)


class MethodFunction(Protocol):
    """The contract: one image in, one raw map out, signed where the mathematics has a sign."""

    def __call__(self, model: Model, image: Image, loss: Loss) -> Map: ...


class Method(NamedTuple):
    """A row of `METHODS`."""

    name: str
    function: Callable[..., Map]
    signed: bool
    target_dependent: bool
    differentiates: str
    """The tap whose gradient is taken, or `"nothing"`."""
    cost: str
    """In forwards (F) and backwards (B) per image, as `21F + 20b`; b goes back one block only, S
    solves one problem of network flow for each token."""
    source: str
    equals: str
    """Whose code its maps were compared with; starts with `nothing` where there is none."""

    @property
    def forwards(self) -> int:
        """In forward passes: a backward pass counts as 2, one of a block as 0, S as 100."""
        parts = [part.strip() for part in self.cost.split("+")]
        return sum(int(part[:-1]) * {"F": 1, "B": 2, "b": 0, "S": 100}[part[-1]] for part in parts)
