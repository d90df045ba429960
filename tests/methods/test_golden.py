"""All methods, gradients and losses against the authors' own code."""

from __future__ import annotations

import golden
import golden_table
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN

from jaxattr import losses
from jaxattr.methods import METHODS

pytestmark = pytest.mark.outside

FILES = golden.files() if GOLDEN.is_dir() else []
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
PLAIN = ("logits", "attentions")


# Compiling is what they cost, so float32 is tried on one network of each group.
FIRST = {path.stem.partition("_")[0]: path for path in reversed(FILES)}.values()
CASES = [
    pytest.param(path, dtype, name, id=f"{path.stem}-{dtype}-{name}")
    for path in FILES
    for dtype in golden.PRECISIONS
    if dtype == "float64" or path in FIRST
    for name in golden.keys(path)
    if name in golden.KEYS
]
TABLE_CASES = [
    pytest.param(path, dtype, name, id=f"{path.stem}-{dtype}-{name}")
    for path in FILES
    for dtype in golden.PRECISIONS
    if dtype == "float64" or path in FIRST
    for name in golden.table_functions(path, dtype)
]


def test_golden_folder_is_there() -> None:
    if not FILES:
        pytest.skip(f"no group*.safetensors in JAXATTR_GOLDEN ({GOLDEN})")
    assert len(CASES) >= 4 * len(FILES)


@pytest.mark.parametrize(("path", "dtype", "name"), CASES)
def test_golden(path, dtype, name) -> None:
    reference, wide = _reference(path, name)
    ours = golden.computed(path, dtype)[name].astype(np.float64)
    assert ours.shape == reference.shape
    tolerance = TOLERANCE[dtype] if wide else 1.5e-5
    if name in PLAIN:
        tolerance = min(tolerance, 1.5e-5)
    # Relative to the largest entry of each image and target: the vectors' own convention.
    axes = tuple(range(1 if name in PLAIN else 2, reference.ndim))
    largest = np.abs(reference).max(axis=axes, keepdims=True)
    error = np.abs(ours - reference).max(axis=axes, keepdims=True) / largest
    assert error.max() <= tolerance, f"{error.max():.2e} of the largest entry"


@pytest.mark.parametrize(("path", "dtype", "name"), TABLE_CASES)
def test_golden_maps(path, dtype, name) -> None:
    reference, wide = _reference(path, name)
    ours = golden.maps(path, dtype)[name].astype(np.float64)
    assert ours.shape == reference.shape
    assert np.isfinite(ours).all()
    allowed = golden_table.tolerance(name)
    tolerance = allowed.wide if wide and dtype == "float64" else allowed.narrow
    # One number an image and target is compared with the largest of the file.
    once = golden_table.listed(name, golden_table.ONE_PER_IMAGE)
    axes = tuple(range(1 if once else 2, reference.ndim)) or None
    error = np.abs(ours - reference).max(axis=axes)
    # A map that is all zero in the authors' code is all zero here.
    assert (error <= tolerance * np.abs(reference).max(axis=axes)).all(), error.max()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_is_used_once(path) -> None:
    """Nothing in a file is skipped in silence, and nothing is made twice."""
    for name in golden.keys(path):
        uses = (
            (name in golden.KEYS)
            + len(golden_table.makers(name))
            + golden_table.listed(name, golden_table.NOT_YET)
            + golden_table.listed(name, golden_table.GIVEN)
            + golden_table.listed(name, golden_table.ELSEWHERE)
        )
        assert uses == 1, f"{name} is used {uses} times"


def test_every_method_but_those_that_say_so_has_vectors() -> None:
    """The column `equals` of the methods' table; the paper's own are in `golden.KEYS`."""
    if not FILES:
        pytest.skip(f"no group*.safetensors in JAXATTR_GOLDEN ({GOLDEN})")
    compared = {name.split("/")[1] for name in golden.KEYS if "/" in name}
    for path in FILES:
        made = golden.table_functions(path, "float64").values()
        compared |= {golden_table.method(function) for function in made}
    for method in METHODS.values():
        assert (method.name in compared) != method.equals.startswith("nothing"), method.name


def _reference(path, name) -> tuple[np.ndarray, bool]:
    """The float64 reference where there is one; else the authors' float32."""
    tensors = golden.read(path).tensors
    head, slash, rest = name.partition("/")
    key = f"{head}64{slash}{rest}"
    return tensors[key if key in tensors else name].astype(np.float64), key in tensors


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_guidance(path) -> None:
    """Where `is_guiding` is false for two negative logits, Eq. 8 inverts the map, as documented."""
    tensors = golden.read(path).tensors
    if "seedlow_targets" not in tensors:
        pytest.skip("this file has no vectors for negative logits")
    targets = tensors["seedlow_targets"]
    logits = jnp.asarray(tensors["logits"])
    first, second = (
        np.take_along_axis(tensors["logits"], targets[:, k : k + 1], 1)[:, 0] for k in (0, 1)
    )
    guiding = [
        bool(losses.is_guiding(row, *pair)) for row, pair in zip(logits, targets, strict=True)
    ]
    assert guiding == [bool(a > 0 and b > 0) for a, b in zip(first, second, strict=True)]
    assert not any(guiding)
    ours = golden.computed(path, "float64")
    correlation = [
        np.corrcoef(a, b)[0, 1]
        for a, b in zip(
            ours["seedlow/complete/eq8"].reshape(-1, ours["seedlow/complete/eq8"].shape[-1]),
            ours["seedlow/complete/diff"].reshape(-1, ours["seedlow/complete/diff"].shape[-1]),
            strict=True,
        )
    ]
    # Not in every image: a logit near zero beside a large one is the exception.
    assert np.median(correlation) < -0.5
