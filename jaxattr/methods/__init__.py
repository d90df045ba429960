"""The attribution methods: one file each, one record each in `METHODS`, one contract for all.

`methods.<name>(model, image, loss) -> [row, column]`: one image in, a raw map out, signed where the
mathematics has a sign, never scaled for display. What is said of a method stands beside its
function, in the decorator `method`; files are found, not listed. A function of one's own is taken
wherever a method's name is, see `resolve`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxattr import losses, registry
from jaxattr.errors import JaxattrError
from jaxattr.methods import views as views
from jaxattr.methods.method import Cost as Cost
from jaxattr.methods.method import Method as Method
from jaxattr.methods.method import MethodFunction as MethodFunction
from jaxattr.methods.method import method as method
from jaxattr.methods.method import method_of as method_of
from jaxattr.vit import Model

MethodLike: TypeAlias = str | Method | Callable[..., Any]
"""A name of `METHODS`, `package.module:function`, or the function itself."""

# The order of tables and of the gallery; what is not named comes last, by file name.
_ORDER = (
    *("conservative", "token_relevance", "raw_attention", "rollout", "attention_flow"),
    *("positive", "complete", "absolute", "gradient_rollout"),
    *("grad_cam", "layer_cam", "hires_cam", "xgrad_cam", "finer_cam", "legrad", "grad_eclip"),
    *("bi_cam", "tam", "bi_head", "bi_token", "dix", "t_attr"),
    *("lrp", "attn_lrp", "res_lrp", "cp_lrp", "fullgrad_plus"),
    *("saliency", "input_x_gradient", "integrated_gradients", "smooth_grad", "ca_lig"),
    *("caap", "rise", "vit_cx", "tis"),
)


def _place(one: Method) -> int:
    return _ORDER.index(one.name) if one.name in _ORDER else len(_ORDER)


METHODS: dict[str, Method] = {
    one.name: one for one in sorted(registry.discover(__name__, __path__, Method), key=_place)
}
CHEAP = tuple(name for name, one in METHODS.items() if one.forwards <= 10)
"""What comparisons take where nothing is asked for; the others cost 7 to 600 times as much."""
# The functions by their names, in place of the modules; `__init__.pyi` types them.
globals().update({name: one.function for name, one in METHODS.items()})


def resolve(given: MethodLike) -> Method:
    """A method by its name, by `package.module:function`, or of a function.

    A function of one's own that has the name of another method goes by its full name.

    Raises:
        JaxattrError: an unknown name, or nothing that can be called.
    """
    if isinstance(given, str):
        if given in METHODS:
            return METHODS[given]
        found = registry.find(given, "method")
        if found is None:
            raise JaxattrError(
                f"unknown method {given}; choose from {', '.join(METHODS)}, or write "
                "package.module:function."
            )
        return resolve(found)
    if not isinstance(given, Method) and not callable(given):
        raise JaxattrError(
            f"a method is {type(given).__name__}; give a name, or a function of model, image and "
            "loss."
        )
    one = given if isinstance(given, Method) else method_of(given)
    known = METHODS.get(one.name)
    if known is not None and known.function is not one.function:
        return _renamed(one)
    return one


def resolve_all(given: Iterable[MethodLike]) -> tuple[Method, ...]:
    """Each once, in their order.

    Raises:
        JaxattrError: an unknown name, or two methods of one's own that have the same.
    """
    found: dict[str, Method] = {}
    for one in map(resolve, given):
        if found.setdefault(one.name, one).function is not one.function:
            raise JaxattrError(f"two methods have the name {one.name}; give one another name.")
    return tuple(found.values())


def checked(given: Iterable[MethodLike], model: Model) -> tuple[Method, ...]:
    """As `resolve_all`; methods of one's own are traced once, so that what fails is told at once.

    Raises:
        JaxattrError: and where one fails, or its map is not one number for each patch.
    """
    found = resolve_all(given)
    for one in found:
        if not _built_in(one):
            _check(one, model)
    return found


def _check(one: Method, model: Model) -> None:
    c = model.config
    image = jax.ShapeDtypeStruct((*c.image_size, c.channels), c.dtype)
    try:
        found: Any = jax.eval_shape(one.function, model, image, losses.target_logit(0))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise JaxattrError(
            f"the method {one.name} failed ({type(error).__name__}: {reason}); JAXATTR_DEBUG=1 "
            "shows where."
        ) from error
    shape = getattr(found, "shape", None)
    if shape != c.grid or not jnp.issubdtype(found.dtype, jnp.floating):
        kind = type(found).__name__ if shape is None else f"{found.dtype} of shape {shape}"
        raise JaxattrError(
            f"the method {one.name} returned {kind}; wanted a map [row, column] of {c.grid}, a "
            "float for each patch."
        )


def own(given: Iterable[Method]) -> dict[str, str] | None:
    """What identifies those that are not built in, by name, for receipts; `None`: all are."""
    found = {one.name: registry.digest(one.function) for one in given if not _built_in(one)}
    return found or None


def in_order(given: Iterable[Method]) -> tuple[Method, ...]:
    """In the order of `METHODS`, one's own behind them."""
    places = {name: place for place, name in enumerate(METHODS)}
    return tuple(sorted(given, key=lambda one: places.get(one.name, len(places))))


def _built_in(one: Method) -> bool:
    return one.name in METHODS


def _renamed(one: Method) -> Method:
    return replace(one, name=registry.full_name(one.function))
