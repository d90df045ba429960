"""One image explained: `jaxattr.explain`, and what it gives.

What a picture says of a map (its title, what its two signs mean) is said here, once, for the
library and the command line.
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, UInt8
from PIL import Image as Pillow

from jaxattr import heads, losses
from jaxattr.data import images
from jaxattr.data.labels import LabelTable
from jaxattr.data.photos import Photo, photo_of, read_photo
from jaxattr.errors import ImageError, JaxattrError
from jaxattr.gradients import over_images
from jaxattr.methods import MethodLike, resolve
from jaxattr.methods.views import averaged, chosen
from jaxattr.plot import heatmap
from jaxattr.plot.heatmap import Palette
from jaxattr.registry import full_name
from jaxattr.vit import Loss, Map, Model, ViTConfig, check_image, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxattr.plot.figures import Panel

RIVAL = "rival"
"""As `against`: the strongest class but the target."""
Class = str | SupportsIndex
AnyImage = str | os.PathLike[str] | Pillow.Image | np.ndarray | jax.Array
_OWN = "own loss"
_TOGETHER = 16
"""Maps of one image that are computed at once: each takes the memory of a backward pass."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What in one image speaks for a class, and what against it."""

    map: Float[np.ndarray, "row column"]
    """Raw: signed where the method has a sign, one number a patch."""
    logits: Float64[np.ndarray, " class"]
    probabilities: Float64[np.ndarray, " class"] | None
    """By the head's own function; `None` of a regression, whose outputs are values."""
    target: int
    """The class that is explained; with a loss of one's own, the predicted one."""
    against: int | None
    """The class that it is set against."""
    loss: str
    """A name of `jaxattr.losses.NAMES`, `package.module:function`, or that of one's own function.
    """
    method: str
    photo: UInt8[np.ndarray, "height width 3"]
    """The part of the image that the model sees."""
    table: LabelTable
    """The model's classes and their names."""
    name: str = ""
    """Of the image."""
    model: str = ""
    views: int = 1
    """Of the image, over which the map is averaged."""
    signed: bool = True
    """Whether the map's negative values speak against the class."""
    meaning: str = "for {}"
    """What its positive values show of the class `{}`."""

    def __repr__(self) -> str:
        rows, columns = self.map.shape
        asked = f"{self.title}, loss {self.loss}, method {self.method}"
        return f"Explanation({self.name!r}: {asked}, {rows} x {columns} patches)"

    def _repr_html_(self) -> str:
        """The figure as a picture, for notebooks."""
        from jaxattr.plot import figures

        data = base64.b64encode(figures.encode(self.plot(), "png")).decode("ascii")
        said = html.escape(f"{self.name}: {self.title}", quote=True)
        return f'<img alt="{said}" style="max-width: 100%" src="data:image/png;base64,{data}">'

    def plot(
        self,
        *,
        palette: Palette = "diverging",
        alpha: float | None = None,
        smooth: bool = True,
    ) -> Figure:
        """The photo, and beside it the map under the photo with a colour bar.

        Args:
            palette: `diverging`, safe for the colour-blind, or the `paper`'s red and blue.
            alpha: opacity of the photo over the map, by default 0.35.
            smooth: bilinear between the patches' centres, else squares.
        """
        from jaxattr.plot import figures

        drawing: dict[str, Any] = {"palette": palette, "alpha": alpha, "smooth": smooth}
        return figures.explanation(
            self.photo, [self.panel()], **self.caption()._asdict(), **drawing
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the figure as `.png`, `.svg` or `.pdf`."""
        from jaxattr.plot import figures

        figures.save(self.plot(), path)

    def upsample(
        self, size: tuple[int, int] | None = None, *, smooth: bool = True
    ) -> Float32[np.ndarray, "height width"]:
        """The map enlarged to `(height, width)`, by default to the photo's size."""
        return heatmap.upsample(self.map, size or self.photo.shape[:2], smooth=smooth)

    @property
    def title(self) -> str:
        """The class, and what it is set against."""
        if self._own:
            return self.loss
        name = self.table.short(self.target)
        return name if self.against is None else f"{name} against {self.table.short(self.against)}"

    def panel(self) -> Panel:
        """The map with what its colours mean, for figures."""
        from jaxattr.plot.figures import Panel

        if self._own:
            positive, negative = f"raises {self.loss}", f"lowers {self.loss}"
            return Panel(self.map, self.title, "", positive, negative if self.signed else None)
        name = self.table.short(self.target)
        detail, negative = said(self.probabilities, self.logits, self.target), f"against {name}"
        if self.against is not None:
            negative = f"for {self.table.short(self.against)}"
            detail += f"  against  {said(self.probabilities, self.logits, self.against)}"
        positive = self.meaning.replace("{}", name)
        return Panel(self.map, self.title, detail, positive, negative if self.signed else None)

    def caption(self) -> Caption:
        """The title of the photo and the footer of the figure."""
        best = [int(index) for index in (-self.logits).argsort(kind="stable")[:2]]
        numbers = self.logits if self.probabilities is None else self.probabilities
        most = ", ".join(f"{self.table.short(i)} {numbers[i]:.2f}" for i in best)
        known = "largest values" if self.probabilities is None else "most probable"
        method = f"method {self.method}"
        method += f", mean of {self.views} views" if self.views > 1 else ""
        parts = [shown_name(self.model), method, f"loss {self.loss}"]
        return Caption(self.name, f"{known}: {most}", "  ·  ".join(filter(None, parts)))

    @property
    def _own(self) -> bool:
        """Whether the loss says itself which classes it is of: neither a name nor made of them."""
        return self.loss not in losses.NAMES and ":" not in self.loss


class Caption(NamedTuple):
    """The words around a figure of one photo."""

    title: str
    detail: str
    footer: str


def explain(
    model: Model,
    image: AnyImage,
    target: Class | None = None,
    *,
    against: Class | None = None,
    method: MethodLike = "conservative",
    loss: str | Loss | None = None,
    views: int = 1,
) -> Explanation:
    """Show what in an image speaks for a class, and what against it.

        seen = jaxattr.explain(model, "elephants.png", target="zebra")
        seen.plot().savefig("zebra.png")
        seen = jaxattr.explain(model, "elephants.png", "zebra", against="rival")

    Args:
        image: a file, an image of Pillow, 8-bit pixels `[height, width, 3]` of any size, or a
            normalised array of the model's input size, as `jaxattr.images.preprocess` gives.
        target: index, label, wnid or synonym of a class; by default the predicted one.
        against: the class to set it against, or `"rival"`: the strongest other one.
        method: a name of `jaxattr.METHODS`, `package.module:function`, or a function of one's own,
            `(model, image, loss) -> map`.
        loss: a name of `jaxattr.losses.NAMES`, by default the target's log-odds against all other
            classes (of a regression, its value), and with `against` the difference of two logits;
            `package.module:function`, which makes a loss of a class or two; or a function of one's
            own, `logits -> scalar`, which names the classes itself.
        views: average the map over so many mirrored and shifted views of the image.

    Raises:
        ImageError: no image, or one that cannot be read.
        LabelError: a class that the model does not know.
        JaxattrError: no such method or loss, or a loss that does not fit the classes or the head.
    """
    row = resolve(method)
    asked, own = (loss, None) if loss is None or isinstance(loss, str) else (None, loss)
    table = LabelTable(model.labels, model.config.classes)
    photo = _photo(image, model)
    logits = np.asarray(_predict(model, photo.array)).astype(np.float64)
    order = [int(index) for index in (-logits).argsort(kind="stable")]
    class_ = order[0] if target is None else table.resolve(target)
    other = _other(table, order, class_, against)
    if own is None:
        name = _loss_name(asked, heads.link(model.config), other is not None)
        scalar = losses.named(name)(class_, 0 if other is None else other)
    elif target is not None or against is not None:
        raise JaxattrError(
            "a loss of one's own says itself which classes it is of; leave out target and against."
        )
    else:
        name, scalar = _named(own), _as_pytree(own)
    found = _map(model, photo.array, scalar, viewed(row.function, model.config, views))
    values = np.asarray(found)
    return Explanation(
        map=values.astype(np.float32) if values.dtype.itemsize < 4 else values,
        logits=logits,
        probabilities=probabilities(model, logits),
        target=class_,
        against=other,
        loss=name,
        method=row.name,
        photo=photo.picture,
        table=table,
        name=photo.name,
        model=model.name,
        views=views,
        signed=row.signed,
        meaning=row.meaning,
    )


def default_loss(link: str | None, paired: bool) -> str:
    """The loss where none is named: by `heads.link`, and whether two classes are set in a pair."""
    if paired:
        return "difference"
    return "log-odds" if link == "softmax" else "logit"


def viewed(function: Callable[..., Map], config: ViTConfig, views: int) -> Callable[..., Map]:
    """A method, or its mean over so many views of the image; equal arguments give one function."""
    return function if views == 1 else _averaged(function, config, views)


def classify(model: Model, arrays: Any) -> Array:
    """The logits of many normalised images, `[image, class]`; to be jitted."""
    return over_images(lambda image: model.forward(image)[0], arrays)


@partial(jax.jit, static_argnames=("loss", "method"))
def pair_maps(
    model: Model,
    arrays: Array | np.ndarray,
    first: Array | np.ndarray,
    second: Array | np.ndarray,
    *,
    loss: str,
    method: Callable[..., Map],
) -> Float[Array, "image pair row column"]:
    """The maps of several pairs of classes of each of several images, in one compiled function.

    Args:
        arrays: normalised images, `[image, height, width, channel]`.
        first: classes to explain, `[image, pair]`.
        second: classes to set them against, likewise; ignored by a loss of one class.
        loss: a name of `jaxattr.losses.NAMES`.
    """
    build = losses.named(loss)

    def one(image: Array, first: Array, second: Array) -> Array:
        def of(classes: tuple[Array, Array]) -> Map:
            return method(model, image, build(*classes))

        if first.shape[0] <= _TOGETHER:
            return jax.vmap(of)((first, second))
        return jax.lax.map(of, (first, second), batch_size=_TOGETHER)

    return over_images(one, arrays, first, second)


def probabilities(
    model: Model, logits: Float[np.ndarray, "*batch class"]
) -> Float[np.ndarray, "*batch class"] | None:
    """The probabilities of logits by the head's function; `None` for a regression's values."""
    return heads.probabilities(model.config, logits) if heads.link(model.config) else None


def said(
    probability: Float[np.ndarray, " class"] | None, logits: Float[np.ndarray, " class"], index: int
) -> str:
    """What a picture says of one output: probability and logit, or its value."""
    if probability is None:
        return f"value {logits[index]:.2f}"
    return f"p {probability[index]:.3f} · logit {logits[index]:.2f}"


def shown_name(name: str) -> str:
    """A model's name: a picture that is passed on need not tell where on this disk it lies."""
    return Path(name).name if Path(name).is_absolute() else name


_predict = jax.jit(predict)


@partial(jax.jit, static_argnames="method")
def _map(model: Model, image: Any, loss: Loss, method: Callable[..., Map]) -> Map:
    return method(model, image, loss)


@cache
def _averaged(function: Callable[..., Map], config: ViTConfig, views: int) -> Callable[..., Map]:
    return averaged(function, chosen(config, views))


def _named(function: Any) -> str:
    """What a function of the user's own is called; never as one of ours."""
    name = getattr(getattr(function, "func", function), "__name__", type(function).__name__)
    name = name.strip("_").replace("_", " ") if name != "<lambda>" else _OWN
    return name if name not in losses.NAMES else f"given {name}"


def _as_pytree(loss: Loss) -> Loss:
    """A loss that can be an argument of a jitted function."""
    opaque = jax.tree_util.all_leaves([loss])
    return jax.tree_util.Partial(loss) if opaque else loss


def _loss_name(loss: str | None, link: str | None, paired: bool) -> str:
    if loss is None:
        return default_loss(link, paired)
    made = losses.resolve(loss)
    of_one, loss = made.classes == 1, loss if loss in losses.NAMES else full_name(made.make)
    if of_one and paired:
        raise JaxattrError(f"loss {loss!r} is of one class; leave out against, or loss.")
    if not of_one and not paired:
        raise JaxattrError(
            f"loss {loss!r} sets one class against another; give against, a class or {RIVAL!r}."
        )
    if loss == "log-odds" and link is None:
        raise JaxattrError(
            "loss 'log-odds' needs probabilities, and this model is a regression, whose outputs "
            "are values; leave out loss, or take 'logit'."
        )
    # The log-odds of a sigmoid are its logit.
    return "logit" if loss == "log-odds" and link == "sigmoid" else loss


def _other(table: LabelTable, order: list[int], target: int, against: Class | None) -> int | None:
    if against is None:
        return None
    if len(order) == 1:
        raise JaxattrError(
            f"this model has one output, {table.short(0)}, so nothing can be set against it; leave "
            f"out against: what speaks against it is the negative part of its map."
        )
    if isinstance(against, str) and against.strip().lower() == RIVAL:
        return order[1] if target == order[0] else order[0]
    other = table.resolve(against)
    if other == target:
        raise JaxattrError(
            f"target and against are the same class, {table.short(other)}; choose another."
        )
    return other


def _photo(image: AnyImage, model: Model) -> Photo:
    """Whatever is taken for an image, as the model sees it and as a person does."""
    processing = model.preprocessing
    if isinstance(image, str | os.PathLike):
        return read_photo(image, processing)
    if isinstance(image, Pillow.Image):
        path = Path(getattr(image, "filename", "") or "image")
        seen = images.as_decoded(image, name=path.name, max_pixels=processing.max_pixels)
        return photo_of(seen, processing, path)
    if isinstance(image, np.ndarray | jax.Array) and image.dtype == np.uint8:
        pixels = np.asarray(image)
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        if (pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] != 3)) or not pixels.size:
            raise ImageError(
                f"8-bit pixels of shape {image.shape}; give (height, width, 3), or grey ones of "
                f"(height, width)."
            )
        return photo_of(Pillow.fromarray(pixels).convert("RGB"), processing, Path("image"))
    check_image(model, image)
    array = np.asarray(image)
    picture = images.as_rgb(images.denormalize(array, processing))
    return Photo("image", Path("image"), array, picture)
