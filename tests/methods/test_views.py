"""Means over views: what is seen, and where each part of a map belongs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sharing import QUICK

from jaxattr import losses
from jaxattr.cli.common.options import MOST_VIEWS
from jaxattr.errors import JaxattrError
from jaxattr.gradients.sites import per_patch
from jaxattr.methods import METHODS
from jaxattr.methods.views import MOST, View, averaged, chosen, seen

ODD = (
    View(),
    View(True),
    View(down=1, right=-3),
    View(True, -2, 5),
    View(down=4),
    View(True, 0, 8),
)
LOSS = losses.target_logit(1)


def test_what_is_seen_is_numpys(tiny_images) -> None:
    image = np.asarray(tiny_images[0])
    for view in ODD:
        wanted = image[:, ::-1] if view.mirrored else image
        wanted = np.pad(wanted, ((8, 8), (12, 12), (0, 0)), mode="symmetric")
        wanted = np.roll(wanted, (view.down, view.right), axis=(0, 1))[8:16, 12:24]
        np.testing.assert_array_equal(seen(tiny_images[0], view), wanted)
    np.testing.assert_array_equal(seen(tiny_images[0], View()), image)


@pytest.mark.parametrize("views", [ODD, (View(), View(down=-4, right=4)), (View(True),)])
def test_maps_are_taken_back_pixel_by_pixel(views, tiny_model, tiny_images) -> None:
    """Against maps enlarged to pixels, mirrored, moved back, and averaged where they are known."""

    def method(model, image, loss):
        return per_patch(model.config, image)

    found = averaged(method, views)(tiny_model, tiny_images[0], LOSS)
    known = []
    for view in views:
        pixels = np.kron(per_patch(tiny_model.config, seen(tiny_images[0], view)), np.ones((4, 4)))
        wide = np.full((24, 36), np.nan)
        wide[8:16, 12:24] = pixels
        home = np.roll(wide, (-view.down, -view.right), axis=(0, 1))[8:16, 12:24]
        known.append(home[:, ::-1] if view.mirrored else home)
    cells = np.reshape(known, (len(views), 2, 4, 3, 4))
    np.testing.assert_allclose(found, np.nanmean(cells, axis=(0, 2, 4)), rtol=1e-5, atol=1e-6)


def test_whole_patches_come_back_exactly(tiny_model, tiny_images) -> None:
    """A method that sees each patch by itself is left as it is, at the edges, too."""

    def method(model, image, loss):
        return per_patch(model.config, image)

    views = View(), View(down=4), View(right=-8), View(down=-4, right=4)
    found = averaged(method, views)(tiny_model, tiny_images[0], LOSS)
    np.testing.assert_allclose(found, per_patch(tiny_model.config, tiny_images[0]), rtol=1e-6)


def test_the_mirrored_image_has_the_mirrored_map(tiny_model, tiny_images) -> None:
    """Of a real method, in one compiled function, under `vmap`, and with its options."""
    method = averaged(METHODS["complete"].function, chosen(tiny_model.config, 10))

    @jax.jit
    def run(model, images):
        return jax.vmap(lambda image: method(model, image, LOSS, start_layer=1))(images)

    image = tiny_images[0]
    one, other = jax.jit(run, compiler_options=QUICK)(
        tiny_model, jnp.stack([image, image[:, ::-1]])
    )
    np.testing.assert_allclose(other, one[:, ::-1], rtol=1e-4, atol=1e-4 * np.abs(one).max())
    plain = METHODS["complete"].function(tiny_model, image, LOSS, start_layer=1)
    assert np.abs(one - plain).max() > 1e-2 * np.abs(plain).max()


def test_many_losses_of_a_method_in_float64_are_those_one_by_one(tiny_model, tiny_images) -> None:
    """The loop over views is batched once more, where JAX's own types are 32 bits wide."""
    method = averaged(METHODS["res_lrp"].function, chosen(tiny_model.config, 2))
    losses_ = losses.target_logit(jnp.arange(2))
    run = jax.jit(jax.vmap(method, in_axes=(None, None, 0)), compiler_options=QUICK)
    together = run(tiny_model, tiny_images[0], losses_)
    assert together.dtype == jnp.float32
    alone = jax.jit(method, compiler_options=QUICK)
    for target, found in enumerate(together):
        wanted = alone(tiny_model, tiny_images[0], losses.target_logit(target))
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_one_view_is_the_method(tiny_model, tiny_images) -> None:
    method = METHODS["rollout"].function
    found = averaged(method, chosen(tiny_model.config, 1))(tiny_model, tiny_images[0], LOSS)
    np.testing.assert_allclose(found, method(tiny_model, tiny_images[0], LOSS), rtol=1e-5)


def test_views_are_balanced(tiny_config) -> None:
    """All are different, and 10 of them, and all, have no direction."""
    views = chosen(tiny_config, MOST)
    assert MOST == MOST_VIEWS == len(set(views)) == 18
    assert views[:4] == (View(), View(True), View(False, 2, 2), View(True, 2, 2))
    for count in (2, 10, MOST):
        first = views[:count]
        assert not sum(view.down for view in first)
        assert not sum(view.right for view in first)
        assert sum(view.mirrored for view in first) == count / 2


def test_what_cannot_be_is_one_line(tiny_model, tiny_images) -> None:
    given = tiny_model, tiny_images[0], LOSS
    for count in (0, MOST + 1, -1):
        with pytest.raises(JaxattrError, match="give 1 to 18"):
            chosen(tiny_model.config, count)
    with pytest.raises(JaxattrError, match="no view given"):
        averaged(METHODS["rollout"].function, ())
    with pytest.raises(JaxattrError, match="moved by 8 pixels, the image has 8"):
        averaged(METHODS["rollout"].function, (View(), View(down=8)))(*given)
    with pytest.raises(JaxattrError, match="shown by no view"):
        averaged(METHODS["rollout"].function, (View(down=4), View(True, 5)))(*given)
