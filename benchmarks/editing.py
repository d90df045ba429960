"""Steps per second of attention transfer and pixel rewriting, against the same loops in torch.

    python benchmarks/editing.py --output benchmarks/results/editing-cpu.json

A step is one forward and backward pass and one update of one image's parameters. The torch loops
use transformers' ViT with frozen weights: for the transfer an attention function that returns the
given maps, for the rewriting the pixels as the only leaf, rounded straight through and clipped to
the budget. Both run in one process and take turns, case by case; the weights are the same (random).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"vit-tiny": (192, 3, 768), "vit-base": (768, 12, 3072)}
RATE, LINF = 4e-4, 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="*", default=["vit-tiny"], choices=list(SIZES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = [
        case
        for name in arguments.models
        for case in compare(name, arguments.steps, arguments.rounds)
    ]
    print(table(results))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def compare(name: str, steps: int, rounds: int) -> list[dict[str, Any]]:
    """All cases of one model, both frameworks taking turns."""
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        theirs = torch_runners(name, folder, pixels, steps)
        ours = jax_runners(folder, pixels, steps)
    found = []
    for kind, run in ours.items():
        runs = {"jax": run} | ({"torch": theirs[kind]} if kind in theirs else {})
        seconds: dict[str, list[float]] = {framework: [] for framework in runs}
        for turn in range(rounds + 1):
            for framework, one in runs.items():
                began = time.perf_counter()
                one()
                if turn:  # the first turn compiles and warms up
                    seconds[framework].append(time.perf_counter() - began)
        case: dict[str, Any] = {"model": name, "case": kind, "steps": steps, "rounds": rounds}
        for framework, values in seconds.items():
            middle = sorted(values)[len(values) // 2]
            case[f"{framework}_steps_per_second"] = round(steps / middle, 2)
            case[f"{framework}_fastest"] = round(steps / min(values), 2)
        if "torch" in runs:
            ratio = case["jax_steps_per_second"] / case["torch_steps_per_second"]
            case["ratio"] = round(ratio, 2)
            case["fastest_ratio"] = round(case["jax_fastest"] / case["torch_fastest"], 2)
        found.append(case)
        print(case, file=sys.stderr, flush=True)
    return found


def jax_runners(folder: str, pixels: np.ndarray, steps: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    import jaxattr
    from jaxattr import losses
    from jaxattr.data.images import normalize
    from jaxattr.experiments.rewrite import Limits, rewrite
    from jaxattr.experiments.transfer import transfer

    model = jaxattr.load(folder)
    image = jnp.asarray(normalize(pixels, model.preprocessing))
    loss, numbers = losses.target_logit(0), np.array([steps], np.int32)
    never = Limits(linf=LINF, margin=float("inf"))

    def transferred(parameters: Any) -> Any:
        run = jax.jit(partial(transfer, parameters=parameters))
        return lambda: jax.block_until_ready(run(model, image, loss, numbers))

    rewritten = jax.jit(rewrite)

    def rewriting() -> Any:
        guided = losses.difference(0, 1)
        found = rewritten(model, pixels, 1, loss=guided, limits=never, steps=steps)
        return jax.block_until_ready(found)

    return {
        "transfer, raw": transferred("raw"),
        "transfer, scores": transferred("scores"),
        "rewriting": rewriting,
    }


def torch_runners(name: str, folder: str, pixels: np.ndarray, steps: int) -> dict[str, Any]:
    import torch
    from transformers import AttentionInterface, ViTConfig, ViTForImageClassification

    def given(module: Any, query: Any, key: Any, value: Any, mask: Any = None, **_: Any) -> Any:
        return (module.given @ value).transpose(1, 2).contiguous(), module.given

    AttentionInterface.register("given", given)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    hidden, heads, mlp = SIZES[name]
    sizes: Any = {"hidden_size": hidden, "num_attention_heads": heads, "num_labels": 1000}
    network = ViTForImageClassification(ViTConfig(intermediate_size=mlp, **sizes))
    network.eval().requires_grad_(False)
    network.save_pretrained(folder)
    original = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    image = (original / 255 - 0.5) / 0.5

    def start() -> list[Any]:
        network.config._attn_implementation = "eager"
        with torch.no_grad():
            return list(network(pixel_values=image, output_attentions=True).attentions)

    def transfer() -> None:
        leaves = [maps.clone().requires_grad_() for maps in start()]
        network.config._attn_implementation = "given"
        layers: Any = network.vit.layers
        for layer, maps in zip(layers, leaves, strict=True):
            layer.attention.given = maps
        optimizer = torch.optim.SGD(leaves, lr=RATE)
        for _ in range(steps):
            optimizer.zero_grad()
            (-network(pixel_values=image).logits[0, 0]).backward()
            optimizer.step()

    def rewriting() -> None:
        network.config._attn_implementation = "sdpa"
        change = torch.zeros_like(original, requires_grad=True)
        for _ in range(steps):
            seen = original + change + (change.round() - change).detach()
            logits = network(pixel_values=(seen / 255 - 0.5) / 0.5).logits[0]
            (gradient,) = torch.autograd.grad(logits[0] - logits[1], [change])
            with torch.no_grad():
                change -= 0.25 * gradient.sign()
                change.clamp_(-LINF, LINF)
                change.copy_(torch.clamp(original + change, 0, 255) - original)

    return {"transfer, raw": transfer, "rewriting": rewriting}


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| model | case | torch steps/s | jaxattr steps/s | ratio, median (fastest) |",
        "|---|---|---|---|---|",
    ]
    for case in results:
        theirs = case.get("torch_steps_per_second", "–")
        ratio = f"{case['ratio']:.2f} ({case['fastest_ratio']:.2f})" if "ratio" in case else "–"
        ours = case["jax_steps_per_second"]
        lines.append(f"| {case['model']} | {case['case']} | {theirs} | {ours} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
