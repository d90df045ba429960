"""The methods, and what they are made of, as functions of a model, an image, a loss and draws.

`noise` are the authors' random draws by the part of a key that names them: `{"rise": {...}, ...}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxattr.gradients import attention_gradients, readout, relevance
from jaxattr.gradients.corrections import with_residual
from jaxattr.gradients.sites import (
    image_gradient,
    in_float64,
    integrated_image_gradient,
    integrated_last_gradient,
    smoothed_image_gradient,
)
from jaxattr.methods import METHODS
from jaxattr.methods._flow import max_flows
from jaxattr.methods.bi_head import _head_weights
from jaxattr.methods.bi_token import _ratios
from jaxattr.methods.grad_eclip import single_head_logits
from jaxattr.methods.rise import _pixels as rise_pixels
from jaxattr.methods.tis import _kept_scores
from jaxattr.methods.vit_cx import _activation, _masks
from jaxattr.methods.vit_cx import _pixels as vit_cx_pixels
from jaxattr.vit import ViTConfig, forward

Function = Callable[..., Any]
CHUNK = 8


def of(name: str, *, cut: bool = False, drawn: str = "", **options: Any) -> Function:
    """A method's map as a row of patches, its negative part cut off where the vector's is."""

    def run(model: Any, image: Any, loss: Any, noise: Any) -> Any:
        given = options | (noise[drawn] if drawn else {})
        values = METHODS[name].function(model, image, loss, **given).reshape(-1)
        return jnp.maximum(values, 0) if cut else values

    run.__name__ = name
    return run


def rise(drawn: str, *, patches: bool) -> Function:
    """RISE with the file's masks; their probability is not known when it is compiled."""

    def run(model: Any, image: Any, loss: Any, noise: Any) -> Any:
        draws = dict(noise[drawn])
        share = draws.pop("p1")
        if patches:
            found = METHODS["rise"].function(
                model, image, loss, probability=1.0, chunk_size=CHUNK, **draws
            )
            return found.reshape(-1) / share
        pixels = rise_pixels(model, image, loss, draws["grids"], draws["shifts"], True, CHUNK)
        return pixels / (len(draws["grids"]) * share)

    run.__name__ = "rise" if patches else "pixels of rise"
    return run


def vit_cx_of_pixels(drawn: str) -> Function:
    def run(model: Any, image: Any, loss: Any, noise: Any) -> Any:
        labels, unit = noise[drawn]["labels"], noise[drawn]["noise"]
        grids, count = _masks(model.config, _activation(model, image, -1), 0.1, labels)
        return vit_cx_pixels(model, image, loss, grids, count, unit, 0.1, True, CHUNK)

    return run


def tis_scores(model: Any, image: Any, loss: Any, noise: Any) -> Any:
    return _kept_scores(
        model, image, lambda logits: loss(jax.nn.softmax(logits)), noise["tis"]["indices"], CHUNK
    )


def flows(model: Any, image: Any, loss: Any, noise: Any) -> Any:
    """Maximum flows of all tokens, not normalised."""
    capacity = with_residual(forward(model, image)[1].attention.mean(axis=1)) * 0.5
    return max_flows(capacity, readout(model.config), chunk_size=model.config.tokens)


def shares(model: Any, image: Any, loss: Any, noise: Any) -> Any:
    found = flows(model, image, loss, noise)
    return found / found.sum()


def method(function: Function) -> str:
    """The method whose map a function is, or nothing."""
    name = getattr(function, "__name__", "")
    return name if name in METHODS else ""


def pixels(function: Function, *, channels: bool) -> Function:
    def run(model: Any, image: Any, loss: Any, noise: Any) -> Any:
        found = function(model, image, loss, noise)
        return found.transpose(2, 0, 1) if channels else found.sum(axis=-1)

    return run


def relevant(make: Callable[[ViTConfig], Any], *, times_input: bool) -> Function:
    """Relevance of the pixels."""

    def wide(model: Any, image: Any, loss: Any) -> Any:
        found = image_gradient(model, image, loss, rules=make(model.config))
        return image * found if times_input else found

    return pixels(lambda *given: in_float64(wide, *given[:3]), channels=False)


def attention_relevance(variant: Any) -> Function:
    def wide(model: Any, image: Any, loss: Any) -> Any:
        rules = relevance.chefer(model.config.activation, variant)
        return attention_gradients(model, image, loss, rules=rules).gradient

    return lambda *given: in_float64(wide, *given[:3])


def integrated(steps: int, quadrature: str) -> Function:
    return pixels(
        lambda model, image, loss, noise: (
            image * integrated_image_gradient(model, image, loss, steps, quadrature, 0.0)
        ),
        channels=True,
    )


def bi_head_weights(model: Any, image: Any, loss: Any, noise: Any) -> Any:
    found = attention_gradients(model, image, loss)
    return _head_weights(found.attention, found.gradient)


def bi_token_ratios(model: Any, image: Any, loss: Any, noise: Any) -> Any:
    return _ratios(model, forward(model, image)[1])


def single_head(strict: bool) -> Function:
    """The logits of Grad-ECLIP's altered network."""
    return lambda model, image, loss, noise: single_head_logits(model, image, strict=strict)


def convergence_delta(model: Any, image: Any, loss: Any, noise: Any) -> Any:
    """How far the sum over pixels is from the change of the loss."""
    gradient = integrated_image_gradient(model, image, loss, 50, "gauss_legendre", 0.0)
    black = forward(model, jnp.zeros_like(image))[0]
    return (image * gradient).sum() - (loss(forward(model, image)[0]) - loss(black))


def gammas(conv: float | None, linear: float | None) -> Function:
    return relevant(lambda c: relevance.cp_lrp(c.activation, conv, linear), times_input=True)


def tam(config: ViTConfig, start: str, steps: str) -> Function:
    # Where the authors' start layer is not in the model, their chain is empty.
    if int(start) >= config.layers:
        return of("tam", first_state=True, steps=int(steps))
    return of("tam", start_layer=int(start), steps=int(steps))


def cam(first: str, second: str) -> Function:
    name = {"gradcam": "grad_cam", "layercam": "layer_cam"}[first]
    return of(name, layer=0 if second == "first" else -1)


def shown(function: Function, *, twice: bool = False, moved: float = 0.0) -> Function:
    """A picture as the authors make it: enlarged, scaled to 0..1; or cut and scaled first."""

    def scaled(values: Any, moved: float) -> Any:
        return (values - values.min()) / (jnp.ptp(values) + moved)

    def run(model: Any, image: Any, loss: Any, noise: Any) -> Any:
        values = function(model, image, loss, noise).reshape(model.config.grid)
        if twice:
            values = scaled(jnp.maximum(values, 0), 1e-7)
        large = jax.image.resize(values, model.config.image_size, "linear")
        return scaled(large, 1e-7 if twice else moved)

    return run


PIXELS = {
    "inputxgradient": lambda model, image, loss, noise: image * image_gradient(model, image, loss),
    "saliency": lambda model, image, loss, noise: jnp.abs(image_gradient(model, image, loss)),
    "smoothgrad": lambda model, image, loss, noise: smoothed_image_gradient(
        model, image, loss, noise["smoothgrad"]["noise"], jnp.abs
    ),
}


def last_gradient(steps: int) -> Function:
    """The averaged gradient of the last attention."""
    return lambda model, image, loss, noise: integrated_last_gradient(model, image, loss, steps)
