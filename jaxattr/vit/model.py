"""The model as a pytree: parameters are leaves, all else is static."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
from jax.tree_util import GetAttrKey

from jaxattr.vit.config import Preprocessing, ViTConfig
from jaxattr.vit.rules import Rules
from jaxattr.vit.taps import Image, Logits, Taps


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class Model:
    """A Vision Transformer as a pytree: parameters are leaves, all else is static.

    Pass it to jitted functions as an argument; closing over it would bake the weights into the
    executable. `config` and `preprocessing`, which computations read, decide what is compiled
    again; `labels`, `name` and `notes` do not: two models that differ in them only share what is
    compiled. So a model that a jitted function *returns* can carry the labels, name and notes of
    the first one that it was called with; take these from the model that was passed.
    """

    parameters: Any
    config: ViTConfig
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(None))
    name: str = ""
    notes: tuple[str, ...] = ()
    """What was assumed or changed in reading the checkpoint, a sentence each, for people to see."""

    def __repr__(self) -> str:
        c = self.config
        return (
            f"Model({self.name!r}, layers={c.layers}, hidden={c.hidden_size}, heads={c.heads}, "
            f"patch={c.patch_size[0]}x{c.patch_size[1]}, "
            f"image={c.image_size[0]}x{c.image_size[1]}, classes={c.classes})"
        )

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """The parameters, and what is static."""
        static = self.config, self.preprocessing, _Said(self.labels, self.name, self.notes)
        return ((GetAttrKey("parameters"), self.parameters),), static

    def tree_flatten(self) -> tuple[Any, Any]:
        """As `tree_flatten_with_keys`, without the keys."""
        (pair,), static = self.tree_flatten_with_keys()
        return pair[1:], static

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Model:
        """The model of other parameters."""
        (parameters,), (config, preprocessing, said) = children, static
        return cls(parameters, config, said.labels, preprocessing, said.name, said.notes)

    def forward(
        self,
        image: Image,
        *,
        add: Taps = Taps(),
        replace: Taps = Taps(),
        rules: Rules = Rules(),
    ) -> tuple[Logits, Taps]:
        """Run the network on one normalised image, see `jaxattr.vit.forward`."""
        from jaxattr.vit.network import forward

        return forward(self, image, add=add, replace=replace, rules=rules)


@dataclass(frozen=True, eq=False)
class _Said:
    """What a model says of itself and nothing computes with: all are equal to JAX."""

    labels: tuple[str, ...]
    name: str
    notes: tuple[str, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Said)

    def __hash__(self) -> int:
        return hash(_Said)
