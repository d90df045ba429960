"""The names under which wrappers save a network: prefixes, and a head behind a Sequential."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from jaxattr.checkpoints.infer import Shape
from jaxattr.checkpoints.layout import Family
from jaxattr.checkpoints.names_google import GOOGLE
from jaxattr.checkpoints.names_huggingface import HUGGINGFACE
from jaxattr.checkpoints.names_native import NATIVE
from jaxattr.checkpoints.names_timm import TIMM
from jaxattr.errors import CheckpointError, short_name

FAMILIES = (HUGGINGFACE, TIMM, GOOGLE, NATIVE)
# Put by PyTorch around any module, wherever it lies; they compute nothing.
_TRANSPARENT = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# The class weights of a loss that was saved with the network (Lightning).
_LOSS = re.compile(r"(criterion|loss|loss_fn|loss_func|loss_function)(\.|$)")
_SHOWN = 4


@runtime_checkable
class HasShape(Protocol):
    """An array, or the header of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class Unwrapped(NamedTuple):
    """Tensors under the names of a family."""

    family: Family
    sources: dict[str, str]
    """From the family's name to the one in the file."""
    shapes: dict[str, Shape]
    """Under the family's names."""
    notes: tuple[str, ...]
    """What was taken away, for people to see."""


def is_network(tensors: Mapping[str, HasShape]) -> bool:
    """Whether these are the tensors of a Vision Transformer under any known names."""
    return bool(_anchors([_TRANSPARENT.sub("", name) for name in tensors]))


def unwrap(tensors: Mapping[str, HasShape]) -> Unwrapped | None:
    """Take away what all names have in front; `None` where no family's tensors are there.

    Raises:
        CheckpointError: several networks, tensors beside the network, or a head that is no single
            linear layer.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    plain = {_TRANSPARENT.sub("", name): name for name in shapes}
    anchors = _anchors(plain)
    if not anchors:
        return None
    if len(anchors) > 1 or len(plain) < len(shapes):
        found = ", ".join(short_name(name) for _, _, name in anchors)
        raise CheckpointError(
            f"checkpoint: holds more than one network ({found}); save one of them alone."
        )
    family, prefix, _ = anchors[0]
    loss = [name for name in plain if _LOSS.match(name)]
    outside = [name for name in plain if not name.startswith(prefix) and name not in loss]
    if outside:
        raise CheckpointError(
            f"checkpoint: the network's names begin with {short_name(prefix)!r}, but there "
            f"{_listed(outside)} beside it, and how they belong to it cannot be told; save the "
            f"network with its head alone, under its library's own names."
        )
    sources = {
        name.removeprefix(prefix): source for name, source in plain.items() if name not in loss
    }
    notes = []
    if prefix or any(name != source for name, source in plain.items()):
        first = next(source for name, source in plain.items() if prefix or name != source)
        taken = short_name(prefix or _TRANSPARENT.findall(first)[0])
        notes.append(
            f"a wrapper's {taken!r} is left out of the tensors' names ({short_name(first)}, ...)."
        )
    if loss:
        notes.append(f"{_names(loss)}: tensors of a loss, left out.")
    for head in family.heads:
        notes += _unwrap_head(head, sources, shapes)
    named = {name: shapes[source] for name, source in sources.items()}
    return Unwrapped(family, sources, named, tuple(notes))


def _anchors(names: Mapping[str, str] | list[str]) -> list[tuple[Family, str, str]]:
    """Every patch embedding of a family among the names: family, what is in front, and name."""
    return [
        (family, found.group(1), name)
        for name in names
        for family in FAMILIES
        if (found := family.anchor.fullmatch(name))
    ]


def _unwrap_head(head: str, sources: dict[str, str], shapes: Mapping[str, Shape]) -> list[str]:
    """Give the only linear layer behind `head.` the head's own name, in place; say so."""
    inside = [name for name in sources if name.startswith(f"{head}.")]
    if not inside or f"{head}.weight" in inside:
        return []
    linear = [
        name.removesuffix(".weight")
        for name in inside
        if name.endswith(".weight") and len(shapes[sources[name]]) == 2
    ]
    alone = len(linear) == 1 and set(inside) == {f"{linear[0]}.weight", f"{linear[0]}.bias"}
    if not alone:
        what = "a linear layer with other layers"
        if len(linear) > 1:
            what = f"an MLP of {len(linear)} linear layers"
        elif len(linear) == 1 and len(inside) == 1:
            what = "a linear layer without a bias"
        elif not linear:
            what = "no linear layer"
        raise CheckpointError(
            f"checkpoint: the head is {what} ({_names(inside)}), wanted one linear layer "
            f"({head}.weight and {head}.bias), the only kind of head that is supported; train such "
            f"a head."
        )
    for leaf in ("weight", "bias"):
        sources[f"{head}.{leaf}"] = sources.pop(f"{linear[0]}.{leaf}")
    return [
        f"{short_name(linear[0])} is taken for the head; layers without weights beside it are "
        f"taken for dropout, which does nothing here."
    ]


def _names(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(short_name(name) for name in sorted(names)[:_SHOWN]) + more


def _listed(names: list[str]) -> str:
    verb = "is 1 tensor" if len(names) == 1 else f"are {len(names)} tensors"
    return f"{verb} ({_names(names)})"
