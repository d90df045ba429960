"""Masks, clusters and scores of the methods that mask the input, against SciPy and the authors."""

from __future__ import annotations

from functools import partial

import golden
import golden_draws
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN
from scipy.cluster import hierarchy
from scipy.cluster.vq import kmeans2
from scipy.ndimage import zoom
from sharing import QUICK

from jaxattr import losses
from jaxattr.methods import METHODS
from jaxattr.methods._clustering import complete_linkage, k_means
from jaxattr.methods._masking import over_masks
from jaxattr.methods.rise import _mask
from jaxattr.methods.vit_cx import _activation, _cosine_distance, _masks, _matrices, _scale
from jaxattr.resampling import along_both, linear
from jaxattr.vit import predict

quick = partial(jax.jit, compiler_options=QUICK)


@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("mirror", "mirror")])
@pytest.mark.parametrize("coarse", [1, 2, 5])
def test_interpolation_is_scipy_s(border, mode, coarse) -> None:
    values = np.random.default_rng(coarse).normal(size=coarse)
    wanted = np.asarray(zoom(values, 7, order=1, mode=mode, grid_mode=True))
    np.testing.assert_allclose(linear(coarse, 7 * coarse, border) @ values, wanted)


@pytest.mark.parametrize("threshold", [0.05, 0.4, 2.0])
def test_complete_linkage_is_scipy_s(threshold, x64) -> None:
    points = np.random.default_rng(0).normal(size=(30, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distance = 1 - points @ points.T
    # SciPy wants the upper triangle, row by row.
    tree = hierarchy.linkage(distance[np.triu_indices(30, 1)], "complete")
    wanted = hierarchy.fcluster(tree, threshold, "distance")
    found = np.asarray(complete_linkage(jnp.asarray(distance), threshold))
    assert set(found) == set(range(found.max() + 1))
    assert len(set(zip(found, wanted, strict=True))) == len(set(found)) == len(set(wanted))


def test_k_means_is_scipy_s(x64) -> None:
    points = np.random.default_rng(1).normal(size=(200, 4))
    key = jax.random.key(3)
    start = points[jax.random.choice(key, 200, (9,), replace=False)]
    means, _ = kmeans2(points, start, iter=100, minit="matrix")
    found = k_means(key, jnp.asarray(points), 9, tolerance=0.0)
    np.testing.assert_allclose(found, means, atol=1e-12)


def test_a_cluster_without_points_is_zero() -> None:
    points = jnp.ones((6, 2))
    found = np.asarray(k_means(jax.random.key(0), points, 3))
    assert sorted(found.sum(axis=1)) == [0, 0, 2]


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunks_change_nothing(chunk_size, tiny_config) -> None:
    run = jax.jit(
        lambda count: over_masks(
            tiny_config, lambda i: 2 * i.astype(jnp.float32), 7, chunk_size, count
        ),
    )
    assert run(7).tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert run(3)[:3].tolist() == [0, 2, 4]


def test_rise_by_hand(tiny_model, tiny_images) -> None:
    random = np.random.default_rng(0)
    grids = (random.random((5, 3, 3)) < 0.5).astype(np.float32)
    shifts = np.stack([random.integers(0, 3, 5), random.integers(0, 4, 5)], axis=1).astype(np.int32)
    draws = {"grids": jnp.asarray(grids), "shifts": jnp.asarray(shifts)}
    run = partial(METHODS["rise"].function, probability=0.5, **draws)
    found = quick(run)(tiny_model, tiny_images[0], losses.target_logit(2))
    wanted = np.zeros((8, 12))
    scores = quick(jax.vmap(lambda image: jax.nn.softmax(predict(tiny_model, image))[2]))
    large = [
        np.asarray(zoom(grid, (4, 16 / 3), order=1, mode="mirror", grid_mode=True))
        for grid in grids
    ]
    masks = np.stack(
        [one[x : x + 8, y : y + 12] for one, (x, y) in zip(large, shifts, strict=True)]
    )
    wanted = np.einsum("m,mhw->hw", scores(tiny_images[0] * masks[..., None]), masks) / 5 / 0.5
    np.testing.assert_allclose(found, wanted.reshape(2, 4, 3, 4).mean(axis=(1, 3)), rtol=1e-4)


def test_tis_of_whole_samples_is_the_probability(tiny_model, tiny_images) -> None:
    """Samples that leave nothing out all score alike; a patch in no sample is zero."""

    def run(model, image, key):
        loss, method = losses.target_logit(1), METHODS["tis"].function
        whole = [
            method(model, image, loss, key=key, masks=3, tokens_ratio=1.0, ablation=ablation)
            for ablation in ("tokens", "pixels")
        ]
        few = method(model, image, loss, indices=jnp.array([[0, 2], [2, 3]]))
        return whole, few, jax.nn.softmax(predict(model, image))[1]

    whole, few, probability = quick(run)(tiny_model, tiny_images[0], jax.random.key(1))
    for found in whole:
        np.testing.assert_allclose(found, np.full((2, 3), probability), rtol=1e-4)
    flat = np.asarray(few).ravel()
    assert flat[[1, 4, 5]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(flat[2], flat[[0, 3]].mean(), rtol=1e-5)


def test_vit_cx_leaves_constant_features_out(tiny_model, tiny_images) -> None:
    run = quick(lambda model, image: _activation(model, image, -1))
    activation = run(tiny_model, tiny_images[0]).at[jnp.array([0, 5])].set(0.3)
    config = tiny_model.config
    grids, count = _masks(config, activation, 1e-4)
    assert count == config.hidden_size - 2
    assert np.isfinite(grids).all()
    assert (grids[count:] == 0).all()
    rows, columns = _matrices(config)
    large = along_both(rows, grids[:count], columns)
    np.testing.assert_allclose(large.min(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(large.max(axis=(1, 2)), 1, rtol=1e-5)


FILES = [
    path
    for path in (golden.files() if GOLDEN.is_dir() else [])
    if any(name.startswith("vitcx/") for name in golden.names(path))
]
AUTHORS = [pytest.mark.outside, pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)]


def authors(test):
    """Mark a test of what comes before the authors' maps."""
    for mark in AUTHORS:
        test = mark(test)
    return test


@authors
def test_masks_of_rise_are_the_authors(path) -> None:
    tensors, config = golden.read(path)
    for name in (name for name in tensors if name.startswith("rise") and name.endswith("/masks")):
        drawn = name.removesuffix("/masks")
        grids, shifts = tensors[f"{drawn}/grids"], tensors[f"{drawn}/shifts"].astype(np.int32)
        found = quick(jax.vmap(partial(_mask, size=config.image_size)))(grids, shifts)
        np.testing.assert_allclose(found, tensors[name], atol=1e-6)
        assert tensors[f"{drawn}/cell"] == -(-config.image_size[0] // grids.shape[1])


@authors
def test_clusters_of_vit_cx_are_the_authors(path) -> None:
    reference = golden.read(path)
    tensors, config = reference
    images = tensors["pixel_values"].transpose(0, 2, 3, 1)
    names = sorted({name.partition("/")[0] for name in tensors if name.startswith("vitcx")})
    thresholds = [float(f"0.{name.partition('_t0')[2] or 1}") for name in names]
    rows, columns = _matrices(config)

    def run(model, image):
        activation = _activation(model, image, -1)
        distance = _cosine_distance(config, _scale(config, activation))
        return activation, distance, [complete_linkage(distance, t) for t in thresholds]

    activation, distance, labels = quick(jax.vmap(run, (None, 0)))(
        reference.model("float32"), images
    )
    masks = quick(jax.vmap(lambda activation, labels: _masks(config, activation, 0.1, labels)))
    for name, found in zip(names, labels, strict=True):
        wanted, _ = golden_draws.clusters(tensors, name)
        grids, counts = masks(activation, wanted)
        large = along_both(rows, grids, columns)
        for i, (ours, theirs, count) in enumerate(zip(found, wanted, counts, strict=True)):
            pairs = set(zip(np.asarray(ours).tolist(), theirs.tolist(), strict=True))
            assert len(pairs) == len(set(theirs.tolist())) == count == ours.max() + 1
            np.testing.assert_allclose(large[i, :count], tensors[f"{name}/masks/{i}"], atol=1e-4)
            if f"{name}/cosine_distance/{i}" in tensors:
                wide = tensors[f"{name}/cosine_distance/{i}"]
                np.testing.assert_allclose(distance[i], wide, atol=1e-5)


@authors
def test_samples_of_tis_are_the_authors(path) -> None:
    tensors = golden.read(path).tensors
    means, indices = tensors["tis/raw_masks"], tensors["tis/mask_indices"]
    chosen = jax.lax.top_k(jnp.asarray(means), indices.shape[-1])[1]
    for found in (chosen, indices):
        binary = np.eye(means.shape[-1])[np.asarray(found)].sum(axis=-2)
        # Means of clusters without points tie.
        filled = np.ptp(means, axis=-1) > 0
        np.testing.assert_array_equal(binary[filled], tensors["tis/binary_masks"][filled])
    if "tis/ablation_baselines" not in tensors:
        assert tensors["tis/ablation_map_target0"].shape == (len(means), means.shape[-1])
        return

    def run(model, image, target, indices, noise):
        loss, method = losses.target_logit(target), METHODS["tis"].function
        return method(model, image, loss, ablation="pixels", indices=indices, baselines=noise)

    maps = quick(jax.vmap(run, (None, 0, 0, 0, 0)))(
        golden.read(path).model("float32"),
        tensors["pixel_values"].transpose(0, 2, 3, 1),
        tensors["targets"][:, 0].astype(np.int32),
        indices.astype(np.int32),
        tensors["tis/ablation_baselines"].transpose(0, 1, 3, 4, 2),
    )
    wanted = tensors["tis/ablation_map_target0"]
    np.testing.assert_allclose(maps.reshape(wanted.shape), wanted, atol=1e-4 * wanted.max())
