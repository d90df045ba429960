"""Weights that are no network by themselves: adapters, and quantised numbers. Named as such."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxattr.checkpoints.files import read_object
from jaxattr.errors import CheckpointError, quoted, short_name

ADAPTER = "adapter_config.json"
_ADAPTED = re.compile(
    r"(^|.*\.)(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|base_layer|modules_to_save"
    r"|hada_w[12]_[ab]|lokr_[wt][12](_[ab])?|oft_[rs]|boft_[rs]|ia3_l|vera_lambda_[bd]"
    r"|lora_(up|down)|adapters?|prompt_embeddings|original_module)(\.|$)"
)
_QUANTISED = re.compile(
    r".*(\.SCB|\.weight_format|\.absmax|\.nested_absmax|\.quant_map|\.nested_quant_map"
    r"|\.quant_state(\..*)?|\.qweight|\.qzeros|\.g_idx|\.weight_packed|\.weight_scale(_inv)?"
    r"|\.weight_zero_point|\.input_scale|\.weight\._(data|scale|shift|packed)|\._packed_params.*)$"
)
_MERGE = "merge it into its base (PEFT: model.merge_and_unload(), then save_pretrained)"
_DEQUANTISE = "load it in transformers, call model.dequantize() and save_pretrained, or use the"


def refuse_adapter_folder(folder: Path, name: str) -> None:
    """Raise for a folder that holds an adapter: transformers loads its base and applies it."""
    path = folder / ADAPTER
    if not path.exists():
        return
    json = read_object(path)
    kind, base = json.get("peft_type", "PEFT"), json.get("base_model_name_or_path", "unknown")
    raise CheckpointError(
        f"{name}: {ADAPTER} says {quoted(kind)} adapter of the base model {quoted(base)}, not a "
        f"whole network; {_MERGE}, and load that folder (or remove {ADAPTER} where this is done)."
    )


def refuse_adapted(names: Collection[str]) -> None:
    """Raise for tensors of an adapter (LoRA and its kind) that is not merged."""
    found = next((name for name in names if _ADAPTED.match(name)), None)
    if found is not None:
        raise CheckpointError(
            f"checkpoint: tensor {short_name(found)} belongs to an adapter (LoRA or its kind) that "
            f"is not merged; {_MERGE}."
        )


def refuse_quantised(names: Collection[str], json: Mapping[str, Any]) -> None:
    """Raise for quantised weights, by config.json or by their tensors."""
    said = json.get("quantization_config")
    if said is not None:
        method = said.get("quant_method") if isinstance(said, Mapping) else said
        raise CheckpointError(
            f"config.json: quantization_config says quantised weights ({quoted(method)}), which "
            f"are not supported; {_DEQUANTISE} checkpoint that it was made of."
        )
    found = next((name for name in names if _QUANTISED.match(name)), None)
    if found is not None:
        raise CheckpointError(
            f"checkpoint: tensor {short_name(found)} belongs to quantised weights (bitsandbytes, "
            f"GPTQ, AWQ or their kind), which are not supported; {_DEQUANTISE} checkpoint that "
            f"it was made of."
        )
