"""Masked images a second against the same benchmark as a loop over torch batches, in one run.

    python benchmarks/perturbation.py --output benchmarks/results/perturbation-cpu.json

The test is `tattr-perturb-v1` for one map an image: nine shares of the pixels, from the highest
and from the lowest score of the enlarged map, black. The loop is T-Attr's: a batch of 16 images,
`topk`, `scatter_`, normalise, model (transformers' ViT with its default attention), for each step.
Same random weights, images and maps; ranking is part of both. Each framework runs in a process of
its own; they take turns. `drop` is our token drop with the same maps, which the loop has not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = {"vit-base": (768, 12, 3072), "vit-tiny": (192, 3, 768)}
STEPS = [step / 10 for step in range(1, 10)]
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="vit-tiny", choices=list(SIZES))
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(arguments.worker[0], Path(arguments.worker[1]), arguments)
        return
    found = compare(arguments)
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def compare(arguments: Any) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"torch": [], "jaxattr": [], "drop": []}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--model", arguments.model]
        command += ["--images", str(arguments.images), "--threads", str(arguments.threads)]
        workers = {}
        for framework in ("torch", "jax"):  # torch first: it writes the weights
            workers[framework] = subprocess.Popen(
                [*command, "--worker", framework, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert answer(workers[framework])["ready"]
        for turn in range(arguments.rounds + 1):
            for name, framework in (("torch", "torch"), ("jaxattr", "jax"), ("drop", "jax")):
                process = workers[framework]
                process.stdin.write(json.dumps({"kind": name}) + "\n")
                process.stdin.flush()
                one = answer(process)["seconds"]
                print(name, round(one, 2), file=sys.stderr, flush=True)
                if turn:  # the first turn compiles and warms up
                    seconds[name].append(one)
        agreement = compared(Path(folder))
        for process in workers.values():
            process.stdin.close()
            process.wait()
    masked = arguments.images * 2 * len(STEPS)
    rates = {
        name: {
            "median": round(masked / sorted(all_)[len(all_) // 2], 2),
            "best": round(masked / min(all_), 2),
        }
        for name, all_ in seconds.items()
    }
    ratios = {
        kind: round(rates["jaxattr"][kind] / rates["torch"][kind], 3) for kind in ("median", "best")
    }
    return {
        "model": arguments.model,
        "images": arguments.images,
        "masked_images": masked,
        "rounds": arguments.rounds,
        "masked_images_per_second": rates,
        "jaxattr_over_torch": ratios,
        **agreement,
    }


def compared(folder: Path) -> dict[str, float]:
    """How far the two answers are from each other."""
    import numpy as np

    ours, theirs = (np.load(folder / f"{name}.npz") for name in ("jaxattr", "torch"))
    return {
        "same_top_class": float((ours["top"] == theirs["top"]).mean()),
        "largest_difference_of_probability": float(
            np.abs(ours["probability"] - theirs["probability"]).max()
        ),
    }


def answer(process: Any) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a worker ended without an answer; see its error above.")
    return json.loads(line)


def serve(framework: str, folder: Path, arguments: Any) -> None:
    """Answer one request a line."""
    import numpy as np

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (arguments.images, 224, 224, 3), np.uint8)
    # Multiples of 1/64, and enlarging weights are multiples of 1/32: no rounding decides an order.
    maps = (rng.integers(-512, 512, (arguments.images, 14, 14)) / 64).astype(np.float32)
    labels = rng.integers(0, 1000, arguments.images)
    run = (torch_runner if framework == "torch" else jax_runner)(folder, pixels, labels, arguments)
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        kind = json.loads(line)["kind"]
        start = time.perf_counter()
        top, probability = run(kind, maps)
        seconds = time.perf_counter() - start
        np.savez(folder / f"{kind}.npz", top=top, probability=probability)
        print(json.dumps({"seconds": seconds}), file=out, flush=True)


def torch_runner(folder: Path, pixels: Any, labels: Any, arguments: Any) -> Any:
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    hidden, heads, mlp = SIZES[arguments.model]
    sizes: Any = {"hidden_size": hidden, "num_attention_heads": heads, "num_labels": 1000}
    model = ViTForImageClassification(ViTConfig(intermediate_size=mlp, **sizes)).eval()
    model.save_pretrained(folder)
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    targets = torch.from_numpy(labels)

    def run(kind: str, maps: Any) -> Any:
        enlarged = torch.nn.functional.interpolate(
            torch.from_numpy(maps)[:, None], scale_factor=16, mode="bilinear"
        ).flatten(1)
        top = torch.empty(len(images), 2, len(STEPS), dtype=torch.long)
        probability = torch.empty(len(images), 2, len(STEPS))
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                some = slice(start, start + BATCH)
                for order, sign in enumerate((1, -1)):
                    for step, share in enumerate(STEPS):
                        data = images[some].clone().flatten(2)
                        count = int(224 * 224 * share)
                        where = torch.topk(sign * enlarged[some], count, dim=-1).indices
                        data.scatter_(-1, where[:, None].expand(-1, 3, -1), 0)
                        shown = (data.view(-1, 3, 224, 224) - 0.5) / 0.5
                        chances = model(pixel_values=shown).logits.softmax(-1)
                        top[some, order, step] = chances.argmax(-1)
                        asked = targets[some, None]
                        probability[some, order, step] = chances.gather(1, asked)[:, 0]
        return top.numpy(), probability.numpy()

    return run


def jax_runner(folder: Path, pixels: Any, labels: Any, arguments: Any) -> Any:
    """XLA takes all cores, whatever `--threads` says; limit both with taskset."""
    import numpy as np

    import jaxattr
    from jaxattr.bench.perturbation.passes import Unmasked, mask
    from jaxattr.bench.perturbation.protocols import protocol

    model = jaxattr.load(folder)
    shown = ((pixels / 255 - 0.5) / 0.5).astype(np.float32)
    targets = labels.astype(np.int32)
    names = [str(number) for number in range(len(pixels))]
    nothing = np.zeros((len(pixels), 2), np.float32)

    def run(kind: str, maps: Any) -> Any:
        fill = "drop" if kind == "drop" else "black"
        chosen = protocol("tattr-perturb-v1", fill=fill, explained=["label"])
        unmasked = Unmasked(targets, nothing, {"one": np.stack([maps, maps], 1)})
        masked = mask(model, shown, unmasked, targets, names, chosen, 0)
        return masked.top[:, 0, 0, :, 1:], masked.probability[:, 0, 0, :, 1:]

    return run


if __name__ == "__main__":
    main()
