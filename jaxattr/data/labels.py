"""Class names: from what people write (index, wnid, label, synonym) to the model's class index."""

from __future__ import annotations

import difflib
import operator
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import SupportsIndex

from jaxattr.errors import LabelError

_WNID = re.compile(r"(n\d{8})(?:[\s:,_-]+|$)", re.IGNORECASE)
_NUMBERED = re.compile(r"(\d+)[\s._:)-]+(?=\S)")
# Zero-width space and joiner, byte order mark, soft hyphen: nobody sees them.
_UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
# Positions of ImageNet-1k's order that no other label set shares by chance.
_IMAGENET = {
    0: "tench",
    1: "goldfish",
    130: "flamingo",
    281: "tabby",
    340: "zebra",
    407: "ambulance",
    620: "laptop",
    817: "sports car",
    954: "banana",
    999: "toilet tissue",
}


@dataclass(frozen=True)
class LabelTable:
    """The classes of a model, in order, and every name under which each can be asked for.

    `labels` may be empty when a checkpoint carries none; `classes` is then their number, and only
    indices resolve. A label is a name, commas and all, with or without a wnid before it
    (`"n02123045-tabby"`). A label of ImageNet-1k, and any with a wnid, is a list of synonyms
    separated by commas (`"n02123045 tabby, tabby cat"`).
    """

    labels: tuple[str, ...]
    classes: int = 0

    def __post_init__(self) -> None:
        classes = self.classes or len(self.labels)
        if self.labels and classes != len(self.labels):
            raise LabelError(
                f"got {len(self.labels)} labels for {classes} classes, wanted one for each; "
                "check the checkpoint's id2label"
            )
        object.__setattr__(self, "classes", classes)

    def resolve(self, name: str | SupportsIndex) -> int:
        """The class index of an index, wnid, label or synonym.

        Case does not matter, nor how an accent is encoded; underscores are spaces. A label written
        as it is goes before one that differs in case (`"a"` and `"A"`). A first synonym goes before
        the later synonyms of other classes (`"harp"` is not the harmonica); a text that two classes
        share after that is an error that names both. A whole number is an index, unless it is a
        label.
        """
        if not isinstance(name, str):
            return self._checked(operator.index(name))
        found = self.candidates(name)
        if len(found) == 1:
            return found[0]
        if found:
            choices = " or ".join(self._described(index) for index in found)
            raise LabelError(
                f"class name {name!r} is ambiguous: {choices}; give the index or the wnid"
            )
        if is_number(name):
            return self._checked(int(name))
        raise LabelError(f"unknown class {name!r}: {self._advice(name)}")

    def candidates(self, name: str) -> tuple[int, ...]:
        """The classes a text may mean, none if it is no wnid, label or synonym.

        A name behind a wnid (`n02085620-Chihuahua`) is what the wnid says, else the name.
        """
        key = name_key(name)
        found = self._names.get(key, ())
        if len(found) > 1 and all(name_key(self.labels[one]) == key for one in found):
            written = unicodedata.normalize("NFC", name)
            found = tuple(one for one in found if self._composed[one] == written) or found
        wnid = _WNID.match(name)
        if found or not wnid:
            return found
        return self._names.get(name_key(wnid[1])) or self._names.get(
            name_key(_without_wnid(name)), ()
        )

    def short(self, index: int) -> str:
        """The first synonym, with the index added where `resolve` could not tell it apart."""
        return self._shorts[self._checked(index)]

    def wnid(self, index: int) -> str | None:
        """The WordNet id, where the labels carry it or are those of ImageNet-1k."""
        return self._wnids[self._checked(index)]

    def nearest(self, name: str, count: int = 3) -> tuple[str, ...]:
        """Known names that look like `name`, best first, one for each class."""
        if _WNID.match(name):
            return ()  # neighbouring numbers are other things altogether
        key = name_key(name)
        close = {
            index: label
            for index, label in enumerate(self.labels)
            if key and key in map(name_key, _parts(label))
        }
        for near in difflib.get_close_matches(key, self._names, count * 2, 0.6):
            close.setdefault(self._names[near][0], near)
        return tuple(close.values())[:count]

    def _advice(self, name: str) -> str:
        if self.labels and nameless(self.labels):
            return (
                f"this model does not name its {self.classes} classes; give their names "
                "(--class-names FILE, or labels.json beside the weights), or an index"
            )
        if not self.labels:
            return f"this model has no labels, only indices 0 to {self.classes - 1}"
        near = self.nearest(name)
        if near:
            return f"did you mean {' or '.join(repr(one) for one in near)}?"
        return f"give one of the model's {self.classes} labels or an index below {self.classes}"

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.classes:
            raise LabelError(f"class index {index} is not between 0 and {self.classes - 1}")
        return index

    def _described(self, index: int) -> str:
        names = dict.fromkeys([_without_wnid(self.labels[index]), self.wnid(index)])
        return f"{index} ({', '.join(filter(None, names))})"

    def _synonyms(self, index: int) -> list[str]:
        """The names in a label: the parts between commas only where they are known to be names."""
        label = self.labels[index]
        whole = _without_wnid(label)
        return _parts(whole) if self._is_imagenet or _WNID.match(label) else [whole.strip()]

    @cached_property
    def _is_imagenet(self) -> bool:
        return len(self.labels) == 1000 and all(
            name in map(name_key, _parts(_without_wnid(self.labels[index])))
            for index, name in _IMAGENET.items()
        )

    @cached_property
    def _composed(self) -> tuple[str, ...]:
        return tuple(unicodedata.normalize("NFC", label) for label in self.labels)

    @cached_property
    def _wnids(self) -> tuple[str | None, ...]:
        if self._is_imagenet:
            return imagenet_wnids()
        matches = (_WNID.match(label) for label in self.labels)
        found = tuple(match and match[1].lower() for match in matches)
        return found if self.labels else (None,) * self.classes

    @cached_property
    def _first_names(self) -> dict[str, tuple[int, ...]]:
        """Whole labels, first synonyms and wnids: what this library itself prints."""
        return _inverted(
            [label, _without_wnid(label), self._synonyms(index)[0], self._wnids[index] or ""]
            for index, label in enumerate(self.labels)
        )

    @cached_property
    def _shorts(self) -> tuple[str, ...]:
        if not self.labels:
            return tuple(f"class {index}" for index in range(self.classes))
        shorts = []
        for index in range(self.classes):
            short = self._synonyms(index)[0]
            alone = self._first_names.get(name_key(short)) == (index,)
            shorts.append(short if alone else f"{short} ({index})".strip())
        return tuple(shorts)

    @cached_property
    def _names(self) -> dict[str, tuple[int, ...]]:
        shorts = {name_key(short): (index,) for index, short in enumerate(self._shorts)}
        synonyms = _inverted(map(self._synonyms, range(len(self.labels))))
        numbered = _inverted([one] for one in without_numbers(self.labels) or ())
        return {**numbered, **synonyms, **shorts, **self._first_names}


def is_number(name: str) -> bool:
    """Whether a text is a whole number, as an index is written."""
    return name.isascii() and name.isdigit() and len(name) < 19


def nameless(labels: Iterable[str]) -> bool:
    """Whether labels are numbers only, or the `LABEL_0`, `LABEL_1`, ... of transformers."""
    texts = list(labels)
    forms = ("{}", "LABEL_{}")
    return any(texts == [form.format(index) for index in range(len(texts))] for form in forms)


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet-1k in class order."""
    text = (files("jaxattr.data") / "imagenet_wnids.txt").read_text(encoding="ascii")
    return tuple(text.split())


def name_key(name: str) -> str:
    """What all spellings of a name have in common.

    Composed characters (NFC), case folded, underscores and runs of white space as one space, no
    white space at the ends, and nothing that has no width.
    """
    folded = unicodedata.normalize("NFD", name.translate(_UNSEEN)).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).replace("_", " ").split())


def without_numbers(names: Sequence[str]) -> tuple[str, ...] | None:
    """Numbered names (`001.Albatross`, `0_cat`) without their numbers.

    `None` unless every name begins with a number of its own and differs from the others behind it.
    """
    found = [_NUMBERED.match(name) for name in names]
    numbers = {int(one[1]) for one in found if one}
    rest = tuple(name[one.end() :] for name, one in zip(names, found, strict=True) if one)
    if len(numbers) < len(names) or len(set(map(name_key, rest))) < len(names):
        return None
    return rest


def _without_wnid(label: str) -> str:
    """The label without a leading wnid, unless that is all there is."""
    return _WNID.sub("", label, count=1).strip() or label


def _parts(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _inverted(names: Iterable[Iterable[str]]) -> dict[str, tuple[int, ...]]:
    """From the names of each class to the classes of each name."""
    found: dict[str, list[int]] = {}
    for index, many in enumerate(names):
        for key in dict.fromkeys(map(name_key, many)):
            if key:
                found.setdefault(key, []).append(index)
    return {key: tuple(indices) for key, indices in found.items()}


def with_words(labels: Iterable[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Put the names of `words` behind those labels that are a wnid and nothing else."""
    return tuple(f"{label} {words[label]}" if label in words else label for label in labels)
