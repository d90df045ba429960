"""Write `timm_vectors.json`: what timm 1.0.31's own models say of heads, activation and epsilon.

Run with timm and torch, which the tests do not need: `python tests/models/timm_vectors.py`. Every
architecture whose name jaxattr accepts (`vit_*`, `deit*`, `flexivit_*`) is built without memory for
its weights (torch's meta device). A row is a list, its fields are named by `fields`; `features` are
the parts that make a network another one than the plain Vision Transformer.
"""

import json
from pathlib import Path

import timm
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

FIELDS = ("width", "heads", "activation", "epsilon", "qkv_bias", "class_token", "pool", "features")


def activation(layer: nn.Module) -> str:
    """The activation under jaxattr's name."""
    name = type(layer).__name__
    if isinstance(layer, nn.GELU):
        return "gelu_tanh" if layer.approximate == "tanh" else "gelu"
    return {"QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh", "GELU": "gelu"}.get(name, name)


def features(model: nn.Module) -> list[str]:
    """What a plain Vision Transformer does not have."""
    names = set(model.state_dict())
    block = model.blocks[0] if isinstance(model.blocks, nn.Sequential) else None
    found = []
    if not isinstance(model, VisionTransformer):
        found.append(type(model).__name__)
    if block is None or type(block) is not Block:
        found.append(type(block).__name__)
    elif type(block.mlp) is not Mlp:
        found.append(type(block.mlp).__name__)
    tests = {
        "layer scale": lambda name: "ls1" in name or "gamma_1" in name,
        "registers": lambda name: name.startswith("reg_token"),
        "pre-norm": lambda name: name.startswith("norm_pre"),
        "attention pooling": lambda name: name.startswith("attn_pool"),
        "qk norm": lambda name: ".q_norm." in name,
        "inner norm": lambda name: ".attn.norm." in name or ".mlp.norm." in name,
        "other stem": lambda name: (
            (name.startswith("patch_embed") and "patch_embed.proj." not in name)
            or (name.startswith("patch_embed.proj.") and name.count(".") > 2)
        ),
    }
    found += [what for what, test in tests.items() if any(map(test, names))]
    if "patch_embed.proj.bias" not in names:
        found.append("no patch bias")
    if "pos_embed" not in names:
        found.append("no pos_embed")
    elif getattr(model, "no_embed_class", False) and model.num_prefix_tokens:
        found.append("no_embed_class")
    norms = {type(m).__name__ for m in model.modules() if "Norm" in type(m).__name__}
    if norms - {"LayerNorm", "LayerNormFp32"}:
        found += sorted(norms - {"LayerNorm"})
    if not {"norm.weight", "fc_norm.weight"} & names:
        found.append("no final norm")
    return found


def row(name: str) -> list:
    """One architecture."""
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    block = next(m for m in model.modules() if hasattr(m, "num_heads"))
    mlp = next((m for m in model.modules() if hasattr(m, "act")), None)
    norm = next(m for m in model.modules() if "Norm" in type(m).__name__)
    return [
        model.embed_dim,
        block.num_heads,
        activation(mlp.act) if mlp is not None else None,
        getattr(norm, "eps", None),
        any(key.endswith("qkv.bias") for key in model.state_dict()),
        getattr(model, "cls_token", None) is not None,
        model.global_pool,
        features(model),
    ]


if __name__ == "__main__":
    names = [n for kind in ("vit_*", "deit*", "flexivit_*") for n in timm.list_models(kind)]
    rows = {}
    for name in sorted(set(names)):
        try:
            rows[name] = row(name)
        except Exception as error:
            print(name, type(error).__name__, error)
            rows[name] = None
    text = ",\n".join(f"  {json.dumps(n)}: {json.dumps(r)}" for n, r in rows.items())
    head = f'"timm": "{timm.__version__}",\n"fields": {json.dumps(FIELDS)}'
    path = Path(__file__).with_suffix(".json")
    whole = "{\n" + head + ',\n"models": {\n' + text + "\n}\n}\n"
    path.write_text(whole, encoding="utf-8")
