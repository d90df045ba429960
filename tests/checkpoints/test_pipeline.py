"""Logits and printed probabilities against transformers' own image-classification pipeline."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import jaxattr
from jaxattr.cli.common import options
from jaxattr.cli.main import main

pytestmark = pytest.mark.parity

SIZES: dict[str, Any] = {
    "image_size": 24,
    "patch_size": 8,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
    "initializer_range": 0.5,
}
HEADS: dict[str, dict[str, Any]] = {
    "single label": {"num_labels": 6},
    "single label, said": {"num_labels": 6, "problem_type": "single_label_classification"},
    "two labels": {"id2label": {0: "no", 1: "yes"}},
    "multi-label": {"num_labels": 6, "problem_type": "multi_label_classification"},
    "multi-label of one": {"num_labels": 1, "problem_type": "multi_label_classification"},
    "one logit": {"num_labels": 1},
    "regression": {"num_labels": 1, "problem_type": "regression"},
    "regression of three": {"num_labels": 3, "problem_type": "regression"},
}


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch", reason="needs torch (extra `parity`)")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return torch


@pytest.mark.parametrize("kind", HEADS)
def test_the_pipeline_says_the_same(torch, tmp_path, monkeypatch, kind) -> None:
    """The same photo, the same labels in the same order, the same four digits."""
    from transformers import ViTConfig, ViTForImageClassification, pipeline
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(7)
    model = ViTForImageClassification(ViTConfig(**{**SIZES, **HEADS[kind]})).eval()
    processor = ViTImageProcessorPil(size={"height": 24, "width": 24})
    for one in (model, processor):
        one.save_pretrained(tmp_path / "model")
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (31, 40, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    ask = pipeline("image-classification", model=model, image_processor=processor)
    theirs = ask(Image.open(photo), top_k=6)
    with torch.no_grad():
        given = processor(Image.open(photo), return_tensors="pt")
        logits = model(**given).logits[0].numpy()

    loaded = jaxattr.load(tmp_path / "model")
    image = jaxattr.images.preprocess(photo, loaded.preprocessing)
    ours = np.asarray(jax.jit(jaxattr.predict)(loaded, image))
    np.testing.assert_allclose(ours, logits, atol=1e-5)

    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)
    words = ["explain", str(photo), "--model", "model", "-t", "top6", "--method", "raw_attention"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()[2 : 2 + len(theirs)]]
    regression = "regression" in kind
    assert ("probability" in result.stdout) is not regression
    assert [row[1] for row in rows] == [one["label"] for one in theirs]
    digits = 3 if regression else 4
    said = [float(row[3]) for row in rows]
    np.testing.assert_allclose(said, [one["score"] for one in theirs], atol=0.6 * 10**-digits)
