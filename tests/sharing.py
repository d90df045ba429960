"""Let many methods share the passes through the network that they have in common.

Tracing and compiling the tiny networks of the tests is what the tests of the methods cost, and
most methods start from the same few pure functions. Inside `shared()` each of these runs once for
the same arguments, by identity, and the network is traced once for each way in which it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import jax
import pytest

from jaxattr import gradients
from jaxattr.gradients import sites
from jaxattr.methods.rise import _pixels as rise_pixels
from jaxattr.methods.vit_cx import _activation, _masks
from jaxattr.methods.vit_cx import _pixels as vit_cx_pixels
from jaxattr.vit import Rules, forward

# Little optimisation: the models are tiny.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

_PURE = (
    gradients.attention_gradients,
    sites.last_attention_gradient,
    sites.integrated_last_gradient,
    sites.channels,
    sites.image_gradient,
    sites.integrated_image_gradient,
    sites.smoothed_image_gradient,
    rise_pixels,
    _activation,
    _masks,
    vit_cx_pixels,
)


@contextmanager
def shared() -> Iterator[None]:
    """Replace the functions wherever the library imported them."""
    traced = jax.jit(forward, static_argnames="rules")
    plain = _once(lambda model, image, rules: traced(model, image, rules=rules))

    def run(model: Any, image: Any, *, rules: Rules = Rules(), **taps: Any) -> Any:
        if taps:
            return traced(model, image, rules=rules, **taps)
        return plain(model, image, rules)

    replacements: dict[Any, Callable[..., Any]] = {function: _once(function) for function in _PURE}
    replacements[forward] = run
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            own = name == "jaxattr.vit" or name.startswith("jaxattr.vit.")
            if own or not name.startswith(("jaxattr.", "golden_")):
                continue
            for attribute, value in list(vars(module).items()):
                if callable(value) and getattr(value, "__hash__", None) and value in replacements:
                    patch.setattr(module, attribute, replacements[value])
        yield


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    kept: dict[Any, tuple[Any, Any]] = {}

    @wraps(function)
    def run(*given: Any, **options: Any) -> Any:
        key = (
            tuple(one if isinstance(one, int | float | str | Rules) else id(one) for one in given),
            tuple(options.items()),
        )
        if key not in kept:
            # The arguments are kept, so that their identities stay theirs.
            kept[key] = function(*given, **options), given
        return kept[key][0]

    return run
