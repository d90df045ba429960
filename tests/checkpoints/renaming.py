"""One set of weights under every name: written here by hand, apart from the library's tables.

Everything starts from `state_dict()` of transformers 5.x (`vit.layers.0.attention.q_proj.weight`).
"""

from __future__ import annotations

import numpy as np

Tensors = dict[str, np.ndarray]


def to_transformers_4(state: Tensors) -> Tensors:
    """The names on the hub."""
    swaps = (
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
        ("t.layers.", "t.encoder.layer."),
    )
    renamed = {}
    for name, tensor in state.items():
        for new, old in swaps:
            name = name.replace(new, old)
        renamed[name] = tensor
    return renamed


def to_timm(state: Tensors) -> Tensors:
    """timm's names, with its fused query, key and value."""
    state = {name.removeprefix("vit.").removeprefix("deit."): t for name, t in state.items()}
    swaps = {
        "embeddings.cls_token": "cls_token",
        "embeddings.distillation_token": "dist_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "layernorm.": "norm.",
        "distillation_classifier.": "head_dist.",
        "cls_classifier.": "head.",
        "classifier.": "head.",
    }
    renamed = {}
    for name, tensor in state.items():
        if not name.startswith("layers."):
            old = next(old for old in swaps if name.startswith(old))
            renamed[name.replace(old, swaps[old])] = tensor
            continue
        name = name.replace("layers.", "blocks.").replace("attention.o_proj", "attn.proj")
        name = name.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        if "q_proj" in name:
            others = (tensor, *(state[_layer(name, part)] for part in ("k_proj", "v_proj")))
            renamed[name.replace("attention.q_proj", "attn.qkv")] = np.concatenate(others)
        elif "k_proj" not in name and "v_proj" not in name:
            renamed[name] = tensor
    return renamed


def _layer(name: str, part: str) -> str:
    return name.replace("blocks.", "layers.").replace("q_proj", part)


def to_google(state: Tensors, heads: int) -> Tensors:
    """The names and axis orders of the original release's npz files."""
    renamed = {}
    for name, tensor in state.items():
        name = name.removeprefix("vit.")
        leaf = name.rpartition(".")[2]
        parts = name.split(".")
        if parts[0] == "layers":
            block = f"Transformer/encoderblock_{parts[1]}"
            renamed[f"{block}/{_google_leaf(parts[2:])}"] = _google_order(parts, tensor, heads)
        elif "projection" in parts:
            renamed[f"embedding/{'bias' if leaf == 'bias' else 'kernel'}"] = (
                tensor if leaf == "bias" else np.moveaxis(tensor, (2, 3, 1, 0), (0, 1, 2, 3))
            )
        elif parts[0] == "classifier":
            renamed[f"head/{'bias' if leaf == 'bias' else 'kernel'}"] = tensor.T
        elif parts[0] == "layernorm":
            renamed[f"Transformer/encoder_norm/{'bias' if leaf == 'bias' else 'scale'}"] = tensor
        else:
            positions = "Transformer/posembed_input/pos_embedding"
            renamed[{"cls_token": "cls", "position_embeddings": positions}[leaf]] = tensor
    return renamed


def _google_leaf(parts: list[str]) -> str:
    leaf = "bias" if parts[-1] == "bias" else "kernel"
    if parts[0].startswith("layernorm"):
        number = 0 if parts[0] == "layernorm_before" else 2
        return f"LayerNorm_{number}/{'bias' if leaf == 'bias' else 'scale'}"
    if parts[0] == "mlp":
        return f"MlpBlock_3/Dense_{int(parts[1] == 'fc2')}/{leaf}"
    module = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "out"}[parts[1]]
    return f"MultiHeadDotProductAttention_1/{module}/{leaf}"


def _google_order(parts: list[str], tensor: np.ndarray, heads: int) -> np.ndarray:
    size = tensor.shape[0]
    if parts[3] == "o_proj":
        return tensor.T.reshape(heads, -1, size) if parts[-1] == "weight" else tensor
    if parts[2] == "attention":
        split = (heads, size // heads)
        return tensor.T.reshape(size, *split) if parts[-1] == "weight" else tensor.reshape(split)
    return tensor.T
