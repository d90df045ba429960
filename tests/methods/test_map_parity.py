"""The complete map against one computed with torch and its attention gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import outside

import jaxattr
from jaxattr import losses
from jaxattr.data.images import fit, normalize
from jaxattr.methods import METHODS

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def torch():
    """Imported when the first test needs it: collecting must not take its seconds."""
    return pytest.importorskip("torch", reason="parity needs torch: install the extra `parity`")


def torch_map(torch, network, pixels, target: int, prefix: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and the class token's row of the rolled-out `I + E_h(gradient * attention)`."""
    network.eval()
    output = network(pixel_values=pixels, output_attentions=True)
    gradients = torch.autograd.grad(output.logits[0, target], output.attentions)
    product = torch.eye(output.attentions[0].shape[-1], dtype=pixels.dtype)
    for attention, gradient in zip(output.attentions, gradients, strict=True):
        product = product + (gradient * attention).mean(1)[0] @ product
    return output.logits[0].detach().numpy(), product[0, prefix:].detach().numpy()


def check(torch, network, folder, image: np.ndarray, **options) -> None:
    """Both networks from the same folder: logits within 1e-4, complete map within 1e-3."""
    model = jaxattr.load(folder, **options)
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    complete = jax.jit(METHODS["complete"].function)
    ours_logits = np.asarray(jax.jit(jaxattr.predict)(model, jnp.asarray(image)))
    for target in {int(ours_logits.argmax()), 1}:
        logits, theirs = torch_map(torch, network, pixels, target, model.config.prefix_tokens)
        np.testing.assert_allclose(ours_logits, logits, atol=1e-4)
        ours = complete(model, jnp.asarray(image), losses.target_logit(target))
        difference = np.abs(np.asarray(ours).ravel() - theirs).max() / np.abs(theirs).max()
        assert difference < 1e-3, f"{difference:.1e} of the largest entry"


@pytest.mark.parametrize("kind", ["vit", "deit", "deit_distilled"])
def test_random_models(torch, kind, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    family = "ViT" if kind == "vit" else "DeiT"
    config = getattr(transformers, f"{family}Config")(
        image_size=30,
        patch_size=6,
        hidden_size=36,
        num_attention_heads=3,
        num_hidden_layers=3,
        intermediate_size=50,
        num_labels=11,
        initializer_range=0.3,
        attn_implementation="eager",
    )
    suffix = "WithTeacher" if kind == "deit_distilled" else ""
    torch.manual_seed(1)
    network = getattr(transformers, f"{family}ForImageClassification{suffix}")(config)
    network.save_pretrained(tmp_path)
    image = np.random.default_rng(0).standard_normal((30, 30, 3), np.float32)
    check(torch, network, tmp_path, image)


@pytest.mark.outside
def test_the_real_checkpoint_with_hub_names(torch) -> None:
    from PIL import Image

    transformers = pytest.importorskip("transformers")
    folder = outside("models", "vit-tiny-in1k")
    network = transformers.ViTForImageClassification.from_pretrained(
        folder, attn_implementation="eager"
    )
    preprocessing = jaxattr.load(folder).preprocessing
    for name in ("el2.png", "catdog.png"):
        photo = Image.open(outside("images", "demo", name))
        check(torch, network, folder, normalize(fit(photo, preprocessing), preprocessing))


@pytest.mark.outside
def test_the_real_checkpoint_with_timm_names(torch) -> None:
    """Its tensors renamed by hand into transformers' network."""
    from PIL import Image
    from safetensors.torch import load_file

    transformers = pytest.importorskip("transformers")
    folder = outside("models", "vit-tiny-tinyimagenet200")
    sizes = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
    config = transformers.ViTConfig(**sizes | {"num_labels": 200, "attn_implementation": "eager"})
    network = transformers.ViTForImageClassification(config)
    own = network.state_dict()
    tensors = load_file(folder / "model.safetensors")
    own |= {
        "vit.embeddings.cls_token": tensors["cls_token"],
        "vit.embeddings.position_embeddings": tensors["pos_embed"],
        "vit.embeddings.patch_embeddings.projection.weight": tensors["patch_embed.proj.weight"],
        "vit.embeddings.patch_embeddings.projection.bias": tensors["patch_embed.proj.bias"],
    }
    for ours, theirs in (("vit.layernorm", "norm"), ("classifier", "head")):
        own |= {f"{ours}.{part}": tensors[f"{theirs}.{part}"] for part in ("weight", "bias")}
    names = {
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.o_proj": "attn.proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    for layer in range(12):
        for part in ("weight", "bias"):
            for ours, theirs in names.items():
                own[f"vit.layers.{layer}.{ours}.{part}"] = tensors[
                    f"blocks.{layer}.{theirs}.{part}"
                ]
            fused = tensors[f"blocks.{layer}.attn.qkv.{part}"].chunk(3)
            for letter, tensor in zip("qkv", fused, strict=True):
                own[f"vit.layers.{layer}.attention.{letter}_proj.{part}"] = tensor
    network.load_state_dict(own)
    model = jaxattr.load(folder, layer_norm_epsilon=1e-12)
    file = sorted(outside("images", "tiny-imagenet", "val", "n02123045").iterdir())[0]
    image = normalize(fit(Image.open(file), model.preprocessing), model.preprocessing)
    check(torch, network, folder, image, layer_norm_epsilon=1e-12)
