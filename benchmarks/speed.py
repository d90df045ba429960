"""Time and memory of `forward` and `explain` against torch with hooks, in one interleaved run.

    python benchmarks/speed.py --output benchmarks/results/speed-cpu.json

*Explain* is the complete map (paper, Eq. 5) of one logit; *conservative* is the map of the
log-odds by `methods.conservative`, beside torch's GAE (Chefer et al. 2021, of one logit) and our
complete, which takes its turn in the same round. The peer is transformers' ViT with eager
attention, `output_attentions=True`, frozen parameters, `torch.autograd.grad` with respect to all
attention maps, and the same product of the class token's row (GAE: of the positive parts). Each
framework runs in a process of its own; the two take turns, so that both see the same machine. The
weights are the same (random), and so are the maps: the largest difference is in the result.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

SIZES = {"vit-base": (768, 12, 3072), "vit-tiny": (192, 3, 768)}
BATCHES = (1, 4, 16)
TARGETS = 8
# What takes turns in a case: the name of its time, who runs it, and what is asked of them.
CASES = {
    "forward": (("torch", "torch", "forward"), ("jax", "jax", "forward")),
    "explain": (("torch", "torch", "explain"), ("jax", "jax", "explain")),
    "conservative": (
        ("torch", "torch", "gae"),
        ("complete", "jax", "explain"),
        ("jax", "jax", "conservative"),
    ),
    "targets": (("torch", "torch", "targets"), ("jax", "jax", "targets")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk-size", type=int, help="images at once on CPU (default: 1)")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        framework, name, folder = arguments.worker
        serve(framework, name, Path(folder), arguments)
        return
    results = [compare(name, arguments) for name in arguments.models]
    print(table(results))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def compare(name: str, arguments: Any) -> dict[str, Any]:
    """All cases of one model, both frameworks taking turns."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--threads", str(arguments.threads)]
        if arguments.chunk_size:
            command += ["--chunk-size", str(arguments.chunk_size)]
        workers = {}
        for framework in ("torch", "jax"):  # torch first: it writes the weights
            process = subprocess.Popen(
                [*command, "--worker", framework, name, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            workers[framework] = process
            assert answer(process)["ready"]
        cases: list[dict[str, Any]] = []
        for batch in BATCHES:
            for kind in [one for one in arguments.cases if one != "targets" or batch == 1]:
                cases.append(measure(workers, kind, batch, arguments.rounds))
                print(name, cases[-1], file=sys.stderr, flush=True)
        both = all((Path(folder) / f"{framework}.npy").exists() for framework in workers)
        difference = maximum_difference(Path(folder)) if both else None
        for process in workers.values():
            process.stdin.close()
            process.wait()
    return {"model": name, "rounds": arguments.rounds, "cases": cases, "map_difference": difference}


def measure(workers: dict[str, Any], kind: str, batch: int, rounds: int) -> dict[str, Any]:
    """Medians of one case over the rounds; a ratio is the median of one over that of the other."""
    names = [name for name, _, _ in CASES[kind]]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    extra: dict[str, dict[str, Any]] = {}
    for turn in range(rounds + 1):
        for name, framework, asked in CASES[kind]:
            process = workers[framework]
            process.stdin.write(json.dumps({"kind": asked, "batch": batch}) + "\n")
            process.stdin.flush()
            reply = answer(process)
            if turn:  # the first turn compiles and warms up
                seconds[name].append(reply["seconds"])
            else:
                extra[name] = {"first_call": reply["seconds"]}
            extra[name]["peak_mib"] = reply["peak_mib"]
    found: dict[str, Any] = {"kind": kind, "batch": batch}
    for name, values in seconds.items():
        ordered = sorted(values)
        found[f"{name}_ms"] = round(1000 * ordered[len(ordered) // 2] / batch, 2)
        found[f"{name}_minimum_ms"] = round(1000 * ordered[0] / batch, 2)
        found[f"{name}_first_call_s"] = round(extra[name]["first_call"], 2)
        found[f"{name}_peak_mib"] = extra[name]["peak_mib"]
    for other in names[:-1]:
        of = "" if other == "torch" else f"{other}_"
        found[f"{of}ratio"] = round(found["jax_ms"] / found[f"{other}_ms"], 3)
        found[f"minimum_{of}ratio"] = round(
            found["jax_minimum_ms"] / found[f"{other}_minimum_ms"], 3
        )
    return found


def answer(process: Any) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a worker ended without an answer; see its error above.")
    return json.loads(line)


def maximum_difference(folder: Path) -> float:
    """Largest difference of the two complete maps, relative to the largest entry."""
    import numpy as np

    ours, theirs = (np.load(folder / f"{framework}.npy") for framework in ("jax", "torch"))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def serve(framework: str, name: str, folder: Path, arguments: Any) -> None:
    """Answer one timing request a line."""
    import numpy as np

    images = np.random.default_rng(0).standard_normal((max(BATCHES), 224, 224, 3), np.float32)
    run = (torch_runner if framework == "torch" else jax_runner)(name, folder, arguments)
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        batch = images[: request["batch"]]
        start = time.perf_counter()
        result = run(request["kind"], batch)
        seconds = time.perf_counter() - start
        if request["kind"] == "explain" and request["batch"] == 1:
            np.save(folder / f"{framework}.npy", np.asarray(result))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), file=out, flush=True)


def torch_runner(name: str, folder: Path, arguments: Any) -> Any:
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    hidden, heads, mlp = SIZES[name]
    sizes: Any = {"hidden_size": hidden, "num_attention_heads": heads, "num_labels": 1000}
    config = ViTConfig(intermediate_size=mlp, **sizes)
    config._attn_implementation = "eager"
    model = ViTForImageClassification(config).eval().requires_grad_(False)
    model.save_pretrained(folder)

    def explain(pixels: Any, targets: list[int], positive: bool = False) -> Any:
        # The images ask for gradients, so that the attention maps have them.
        output = model(pixel_values=pixels.requires_grad_(), output_attentions=True)
        rows = []
        for target in targets:
            gradients = torch.autograd.grad(
                output.logits[:, target].sum(), output.attentions, retain_graph=len(targets) > 1
            )
            row = torch.zeros(len(pixels), 1, output.attentions[0].shape[-1])
            row[:, :, 0] = 1
            for attention, gradient in zip(output.attentions[::-1], gradients[::-1], strict=True):
                product = gradient * attention
                row = row + row @ (product.clamp(min=0) if positive else product).mean(1)
            rows.append(row[:, 0, 1:])
        return torch.stack(rows, 1).detach().numpy()

    def run(kind: str, images: Any) -> Any:
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        if kind == "forward":
            with torch.no_grad():
                return model(pixel_values=pixels).logits.numpy()
        return explain(pixels, list(range(TARGETS if kind == "targets" else 1)), kind == "gae")

    return run


def jax_runner(name: str, folder: Path, arguments: Any) -> Any:
    """XLA takes all cores, whatever `--threads` says; limit them with taskset."""
    import jax
    import jax.numpy as jnp

    import jaxattr
    from jaxattr import losses

    model = jaxattr.load(folder)
    over_images = partial(jaxattr.over_images, chunk_size=arguments.chunk_size)
    complete, conservative = (
        jaxattr.METHODS[name].function for name in ("complete", "conservative")
    )

    @jax.jit
    def forward(model: Any, images: Any) -> Any:
        return over_images(lambda image: jaxattr.predict(model, image), images)

    @jax.jit
    def explain(model: Any, images: Any, loss: Any) -> Any:
        many = jax.vmap(complete, in_axes=(None, None, 0))
        return over_images(lambda image: many(model, image, loss), images)

    @jax.jit
    def signed(model: Any, images: Any, loss: Any) -> Any:
        return over_images(lambda image: conservative(model, image, loss), images)

    def run(kind: str, images: Any) -> Any:
        if kind == "forward":
            return jax.block_until_ready(forward(model, images))
        if kind == "conservative":
            return jax.block_until_ready(signed(model, images, losses.log_odds(0)))
        loss = losses.target_logit(jnp.arange(TARGETS if kind == "targets" else 1))
        maps = jax.block_until_ready(explain(model, images, loss))
        return maps.reshape(*maps.shape[:2], -1)

    return run


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| model | case | batch | torch ms/image | jaxattr ms/image | ratio, median (minimum) |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for case in result["cases"]:
            kind = f"{TARGETS} targets" if case["kind"] == "targets" else case["kind"]
            lines.append(
                f"| {result['model']} | {kind} | {case['batch']} | {case['torch_ms']:.1f} | "
                f"{case['jax_ms']:.1f} | {case['ratio']:.2f} ({case['minimum_ratio']:.2f}) |"
            )
            if "complete_ratio" in case:
                lines.append(
                    f"| {result['model']} | conservative, of complete | {case['batch']} | "
                    f"{case['complete_ms']:.1f} | {case['jax_ms']:.1f} | "
                    f"{case['complete_ratio']:.2f} ({case['minimum_complete_ratio']:.2f}) |"
                )
        if result["map_difference"] is None:
            continue
        lines.append(
            f"| {result['model']} | largest difference of the maps | | | | "
            f"{result['map_difference']:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
