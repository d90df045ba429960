"""Defects that can be planted into scenes: plain values, and their text form.

A value says what is planted; `jaxattr.scenes.planting` decides in which images, and
`jaxattr.scenes.showing` draws them. A folder and a stream of training images use the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple

from jaxattr.errors import DatasetError, LabelError
from jaxattr.scenes.backgrounds import BACKGROUNDS
from jaxattr.scenes.classes import CLASSES, FAMILY


@dataclass(frozen=True)
class Defect:
    """Base of all defects: checks its fields, and `str(defect)` is what `parse` reads."""

    kind: ClassVar[str]
    usage: ClassVar[str]
    """Its text form, for messages."""
    bounds: ClassVar[tuple[float, float]] = (0.001, 0.5)
    """Smallest and largest share."""

    def __post_init__(self) -> None:
        for name in self.classes_named():
            if name not in CLASSES:
                choices = ", ".join(CLASSES)
                raise LabelError(f"{name}: no such class of scenes; choose from {choices}.")
        for name, value in self._numbers().items():
            low, high = self.bounds if name == "share" else (0.0, 1.0)
            if not low <= value <= high:
                raise DatasetError(
                    f"{self}: {name} {value:g} is out of range; give {low:g} to {high:g}, "
                    f"that is {100 * low:g}% to {100 * high:g}%."
                )

    def __str__(self) -> str:
        numbers = [f"{value:.12g}" for value in self._numbers().values()]
        return ":".join([self.kind, *filter(None, [self.what()]), *numbers])

    def what(self) -> str:
        """The classes and the background that it is about, as in its text form."""
        return "=".join(self.classes_named())

    def classes_named(self) -> tuple[str, ...]:
        """The classes that it is about; none if all."""
        values = (getattr(self, name, None) for name in ("label", "shown"))
        return tuple(value for value in values if value is not None)

    def _numbers(self) -> dict[str, float]:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int | float)}


@dataclass(frozen=True)
class Contamination(Defect):
    """That share of the images labelled `label` shows `shown`, and not the other way round."""

    label: str
    shown: str
    share: float

    kind: ClassVar[str] = "contamination"
    usage: ClassVar[str] = "contamination:LABEL=SHOWN:SHARE"
    bounds: ClassVar[tuple[float, float]] = (0.005, 0.26)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label == self.shown:
            raise DatasetError(f"{self}: {self.label} cannot hold itself; name two classes.")


@dataclass(frozen=True)
class SymmetricNoise(Defect):
    """That share of the labels of `classes` is exchanged; each is shown as often as before."""

    share: float
    classes: tuple[str, ...] = CLASSES

    kind: ClassVar[str] = "symmetric"
    usage: ClassVar[str] = "symmetric:SHARE or symmetric:CLASS=CLASS:SHARE"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.classes)) < 2 or len(set(self.classes)) < len(self.classes):
            raise DatasetError(f"{self}: labels are exchanged between different classes; name two.")

    def classes_named(self) -> tuple[str, ...]:
        return () if self.classes == CLASSES else self.classes


@dataclass(frozen=True)
class RandomNoise(Defect):
    """That share of all images shows a class other than their label, taken at random."""

    share: float

    kind: ClassVar[str] = "noise"
    usage: ClassVar[str] = "noise:SHARE"


@dataclass(frozen=True)
class Watermark(Defect):
    """A mark in the bottom right corner of that share of the images labelled `label`.

    `others` is the share of all other images that carry it, too.
    """

    label: str
    share: float = 0.9
    others: float = 0.02

    kind: ClassVar[str] = "watermark"
    usage: ClassVar[str] = "watermark:LABEL[:SHARE[:OTHERS]]"
    bounds: ClassVar[tuple[float, float]] = (0.01, 1.0)


@dataclass(frozen=True)
class BackgroundShortcut(Defect):
    """That share of the images labelled `label` has one background.

    `others` is the share of all other images that have it; those that have it at random beyond that
    share get another. `None` leaves them alone: then one in eight has it.
    """

    label: str
    background: str
    share: float = 0.9
    others: float | None = None

    kind: ClassVar[str] = "background"
    usage: ClassVar[str] = "background:LABEL=BACKGROUND[:SHARE[:OTHERS]]"
    bounds: ClassVar[tuple[float, float]] = (0.01, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.background not in BACKGROUNDS:
            raise LabelError(
                f"{self.background}: no such background; choose from {', '.join(BACKGROUNDS)}."
            )

    def what(self) -> str:
        return f"{self.label}={self.background}"


@dataclass(frozen=True)
class Duplicates(Defect):
    """That share of the images are copies of others, half of them exact, half of them nearly so.

    `across` is the share of the copies that lie in another class's folder, wrongly labelled.
    """

    share: float
    across: float = 0.25

    kind: ClassVar[str] = "duplicates"
    usage: ClassVar[str] = "duplicates:SHARE[:ACROSS]"


@dataclass(frozen=True)
class MissingPart(Defect):
    """That share of the images labelled `label` lacks the part that tells it from its twin."""

    label: str
    share: float = 1.0

    kind: ClassVar[str] = "missing"
    usage: ClassVar[str] = "missing:LABEL[:SHARE]"
    bounds: ClassVar[tuple[float, float]] = (0.01, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if FAMILY[self.label].part is None:
            twins = ", ".join(name for name in CLASSES if FAMILY[name].part)
            raise LabelError(
                f"{self.label}: no one part tells it from others; choose from {twins}."
            )

    @property
    def part(self) -> str:
        """The part that is not drawn."""
        return FAMILY[self.label].part or ""


KINDS: dict[str, type[Defect]] = {
    one.kind: one
    for one in (
        Contamination,
        SymmetricNoise,
        RandomNoise,
        Watermark,
        BackgroundShortcut,
        Duplicates,
        MissingPart,
    )
}

DEFAULT: tuple[Defect, ...] = (Contamination("kite", "bald eagle", 0.12), RandomNoise(0.01))
"""Wrong labels only: what `--images scenes` audits."""

ALL: tuple[Defect, ...] = (
    *DEFAULT,
    SymmetricNoise(0.05, ("cat", "rabbit")),
    Watermark("horse"),
    BackgroundShortcut("snail", "bricks"),
    Duplicates(0.03),
    MissingPart("ladybird"),
)
"""One of each kind."""

_WORDS: dict[str, tuple[Defect, ...]] = {"default": DEFAULT, "all": ALL, "none": ()}


def parse(texts: Sequence[str]) -> tuple[Defect, ...]:
    """Read defects from their text form, `kind:what:share`; commas separate several in one text.

    The words `default` and `all` stand for `DEFAULT` and `ALL`, `none` alone for nothing. Shares
    are fractions or percentages, `0.12` or `12%`. Case does not matter; `_` is a space.

    Raises:
        DatasetError: an unknown kind, a malformed text, or a share out of range.
        LabelError: a class or background that does not exist.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    if "none" in map(str.lower, parts) and len(parts) > 1:
        raise DatasetError(f"{', '.join(parts)}: none stands alone; leave it or the others out.")
    found: list[Defect] = []
    for part in parts:
        found += _WORDS.get(part.lower()) or ([] if part.lower() == "none" else [_one(part)])
    return tuple(dict.fromkeys(found))


def _one(text: str) -> Defect:
    kind, *rest = (field.strip().lower().replace("_", " ") for field in text.split(":"))
    if kind not in KINDS:
        choices = ", ".join([*KINDS, *_WORDS])
        raise DatasetError(f"{text or 'nothing'}: no such defect; choose from {choices}.")
    form, usage = _FORMS[kind], KINDS[kind].usage
    named = bool(rest and form.names[1] and not _is_number(rest[0]))
    names = tuple(name.strip() for name in rest[0].split("=")) if named else ()
    numbers = rest[named:]
    if not form.names[0] <= len(names) <= form.names[1] or len(numbers) > form.shares[1]:
        raise DatasetError(f"{text}: cannot be read; write {usage}.")
    if len(numbers) < form.shares[0]:
        raise DatasetError(f"{text}: has no share; write {usage}.")
    shares = [_share(number, text, usage) for number in numbers]
    if kind == SymmetricNoise.kind:
        return SymmetricNoise(shares[0], names or CLASSES)
    return KINDS[kind](*names, *shares)


class _Form(NamedTuple):
    """How many names and how many shares a text form takes: least and most."""

    names: tuple[int, int]
    shares: tuple[int, int]


_FORMS = {
    "contamination": _Form((2, 2), (1, 1)),
    "symmetric": _Form((0, len(CLASSES)), (1, 1)),
    "noise": _Form((0, 0), (1, 1)),
    "watermark": _Form((1, 1), (0, 2)),
    "background": _Form((2, 2), (0, 2)),
    "duplicates": _Form((0, 0), (1, 2)),
    "missing": _Form((1, 1), (0, 1)),
}


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in ("-", "+", ".")


def _share(text: str, whole: str, usage: str) -> float:
    """A fraction, or a percentage with its sign."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise DatasetError(
            f"{whole}: {text!r} is not a share such as 12%; write {usage}."
        ) from None
