"""Where the time of one explanation goes: the share of each kind of operation on CPU.

    python benchmarks/breakdown.py --model vit-base --output benchmarks/results/breakdown-base.json

Takes JAX's own trace of repeated calls and adds up the time inside each compiled operation, by the
kind that its name tells. Beside it stands the hardware limit: the same dense products (forward and
backward, without attention) alone, in the same process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxattr
from jaxattr import losses
from jaxattr.vit import ViTConfig

SIZES = {"vit-base": (768, 12, 3072), "vit-tiny": (192, 3, 768)}
CALLS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=list(SIZES), default="vit-base")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    hidden, heads, mlp = SIZES[arguments.model]
    config = ViTConfig((224, 224), (16, 16), hidden, 12, heads, mlp, 1000)
    model = jaxattr.initialize(config, jax.random.key(0))
    image = jax.random.normal(jax.random.key(1), (224, 224, 3))
    explain = jax.jit(jaxattr.METHODS["complete"].function)
    whole = median(lambda: explain(model, image, losses.target_logit(0)))
    limit = median(lambda: dense(model, jnp.ones((config.tokens, hidden))))
    shares = kinds(lambda: explain(model, image, losses.target_logit(0)))
    result = {
        "model": arguments.model,
        "explain_ms": round(1000 * whole, 1),
        "dense_products_alone_ms": round(1000 * limit, 1),
        "share_of_limit": round(limit / whole, 3),
        "operations_percent": shares,
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


@jax.jit
def dense(model: Any, x: jax.Array) -> jax.Array:
    """The dense products of a forward and an input-gradient pass, and nothing else."""
    total = jnp.zeros(())
    for layer in range(model.config.layers):
        block = model.parameters[f"blocks_{layer}"]
        for name in ("qkv", "projection", "fc1", "fc2"):
            kernel = block[name]["kernel"]
            given = x if kernel.shape[0] == x.shape[1] else jnp.tile(x, (1, 4))
            product = given @ kernel
            total += product[0, 0] + (product @ kernel.T)[0, 0]
    return total


def median(function: Any) -> float:
    jax.block_until_ready(function())
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[CALLS // 2]


def kinds(function: Any) -> dict[str, float]:
    """Percent of operation time by kind."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(CALLS):
                jax.block_until_ready(function())
        (path,) = Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(path))
        total: dict[str, float] = defaultdict(float)
        for plane in profile.planes:
            for line in plane.lines:
                for event in line.events:
                    if (kind := kind_of(event.name)) is not None:
                        total[kind] += event.duration_ns
    everything = sum(total.values())
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return {kind: round(100 * value / everything, 1) for kind, value in ordered}


def kind_of(name: str) -> str | None:
    """The operation's kind from its HLO name (`dot.12`, `exponential_add_fusion.3`, ...)."""
    stem = name.split(".")[0]
    known = ("dot", "fusion", "transpose", "copy", "reduce", "convert", "pad", "slice", "broadcast")
    if "::" in name or " " in name or not any(part in stem for part in known):
        return None
    return stem


if __name__ == "__main__":
    main()
