r"""Time of a map against the authors' own packages, in one interleaved run.

    python benchmarks/methods.py --model MODEL --images PHOTOS \
        --output benchmarks/results/methods-cpu.json

MODEL is a folder that transformers' ViT reads, PHOTOS any folder of photos; the class explained is
each photo's most probable one. Peers, in `methods_torch.py`, are captum, pytorch-grad-cam and lxt
where they are installed, and for methods without a package what their authors do, written by hand
for transformers' ViT with eager attention. Each framework runs in a process of its own, warmed up;
the two take turns. Before a pair is timed its maps are compared: a correlation of 1 says that the
same thing is timed. Peers return maps of their own size; ours has one value for each patch. Where
others compute on the machine, torch's threads wait for each other: take `--threads 1` and read the
ratio of CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

BATCHES = (1, 8)
SAMPLES, MASKS = 5, 64
"""Noisy copies of SmoothGrad; masks of RISE, which takes thousands: its time is in proportion."""
CELLS, KEPT = 8, 0.5
ALIKE, COSTLY = 0.99, 1.0
"""A correlation, and seconds of one map."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--cases", nargs="*", help="names of `methods_torch.py` (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="at most")
    parser.add_argument("--seconds", type=float, default=15, help="of a case before it stops")
    parser.add_argument("--threads", type=int, default=2, help="and cores, of each")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
        serve(arguments.worker, jax_runner(arguments))
        return
    result = compare(arguments)
    print(table(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(arguments: Any) -> dict[str, Any]:
    """All cases, both frameworks taking turns."""
    before, began = os.getloadavg(), time.perf_counter()
    given = [f"--{name}={getattr(arguments, name)}" for name in ("model", "images", "threads")]
    cases = [] if arguments.cases is None else ["--cases", *arguments.cases]
    torch_file = str(Path(__file__).with_name("methods_torch.py"))
    with tempfile.TemporaryDirectory() as folder:
        prepare(arguments, Path(folder))
        peers, hello = start([sys.executable, torch_file, folder, *given, *cases])
        named = json.dumps(hello["cases"])
        ours, ready = start(
            [sys.executable, __file__, "--worker", folder, *given, "--cases", named]
        )
        rows = []
        for name, case in hello["cases"].items():
            alike = check(ours, peers, name)
            for batch in BATCHES:
                asked = {"case": name, "check": False, "batch": batch}
                found = measure(ours, peers, asked, arguments.rounds, arguments.seconds)
                rows.append({"case": name, **case, "batch": batch, "correlation": alike, **found})
                print(rows[-1], file=sys.stderr, flush=True)
        for process in (ours, peers):
            process.stdin.close()
            process.wait()
    load = {"before": before[0], "after": os.getloadavg()[0]}
    return {
        "machine": {"processor": platform.processor(), "cores": os.cpu_count(), "load": load},
        "threads": arguments.threads,
        "versions": {**hello["versions"], **ready["versions"]},
        "absent": hello["absent"],
        "model": arguments.model.name,
        "seconds": round(time.perf_counter() - began),
        "rows": rows,
    }


def check(ours: Any, peers: Any, case: str) -> float:
    """Both run once with every batch, which warms them up; how alike their maps are.

    Methods that ask the model dozens of times are compared on one image.
    """
    alike = 1.0
    for batch in BATCHES:
        asked = {"case": case, "check": True, "batch": batch}
        seconds = ask(ours, asked)["seconds"]
        alike = min(alike, ask(peers, asked)["correlation"])
        if seconds > COSTLY:
            break
    return alike


def measure(
    ours: Any, peers: Any, asked: dict[str, Any], rounds: int, limit: float
) -> dict[str, Any]:
    """Medians over rounds, in milliseconds an image; the ratio is the median of the rounds'."""
    batch, began = asked["batch"], time.perf_counter()
    pairs: list[list[dict[str, float]]] = []
    while len(pairs) < rounds and (not pairs or time.perf_counter() - began < limit):
        pairs.append([ask(process, asked) for process in (peers, ours)])
    found: dict[str, Any] = {"rounds": len(pairs)}
    for kind, prefix in (("seconds", ""), ("cpu", "cpu_")):
        ratios = [mine[kind] / theirs[kind] for theirs, mine in pairs]
        middle = [statistics.median(one[kind] for one in side) for side in zip(*pairs, strict=True)]
        found[f"{prefix}peer_ms"], found[f"{prefix}jaxattr_ms"] = (
            round(1000 * one / batch, 2) for one in middle
        )
        found[f"{prefix}ratio"] = round(statistics.median(ratios), 3)
        found[f"{prefix}ratio_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
    return found


def start(command: list[str]) -> tuple[Any, dict[str, Any]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, answer(process)


def ask(process: Any, request: dict[str, Any]) -> dict[str, Any]:
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    return answer(process)


def answer(process: Any) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a worker ended without an answer; see its error above.")
    return json.loads(line)


def serve(folder: Path, runner: tuple[dict[str, Any], Callable[[str, int], Any]]) -> None:
    """Answer requests line by line; for a check leave the maps in the folder."""
    import numpy as np

    hello, run = runner
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(hello), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        began, cpu = time.perf_counter(), time.process_time()
        maps = run(request["case"], request["batch"])
        reply = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        if request["check"]:
            np.save(folder / "ours.npy", np.asarray(maps))
        print(json.dumps(reply), file=out, flush=True)


def jax_runner(arguments: Any) -> tuple[dict[str, Any], Callable[[str, int], Any]]:
    """Compile every method for every batch."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jaxattr
    from jaxattr import losses

    model, given = jaxattr.load(arguments.model), np.load(arguments.worker / "given.npz")
    methods = {name: case["method"] for name, case in json.loads(arguments.cases[0]).items()}
    options = {
        "rise": {"grids": jnp.asarray(given["grids"]), "shifts": jnp.asarray(given["shifts"]),
                 "probability": KEPT},
        "smooth_grad": {"noise": jnp.asarray(given["noise"])},
    }  # fmt: skip

    def lower(method: str, batch: int) -> Any:
        function = jaxattr.METHODS[method].function

        def one(model: Any, image: Any, class_: Any) -> Any:
            return function(model, image, losses.target_logit(class_), **options.get(method, {}))

        def every(model: Any, images: Any, classes: Any) -> Any:
            return jaxattr.over_images(lambda *each: one(model, *each), images, classes)

        return jax.jit(every).lower(model, *arrays[batch])

    arrays = {
        batch: (jnp.asarray(given["images"][:batch]), jnp.asarray(given["classes"][:batch]))
        for batch in BATCHES
    }
    wanted = [(method, batch) for method in dict.fromkeys(methods.values()) for batch in BATCHES]
    lowered = [lower(*each) for each in wanted]
    with ThreadPoolExecutor(2) as pool:
        compiled = dict(zip(wanted, pool.map(lambda one: one.compile(), lowered), strict=True))

    def run(case: str, batch: int) -> Any:
        return jax.block_until_ready(compiled[methods[case], batch](model, *arrays[batch]))

    return {"versions": {name: version(name) for name in ("jaxattr", "jax")}}, run


def prepare(arguments: Any, folder: Path) -> None:
    """What both sides are given: images, their classes, noise, and the masks of RISE."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jaxattr
    from jaxattr.data import images
    from jaxattr.resampling import linear

    model = jaxattr.load(arguments.model)
    found = sorted(path for path in arguments.images.rglob("*") if path.is_file())
    step = max(1, len(found) // max(BATCHES))
    photos = [
        images.preprocess(path, model.preprocessing) for path in found[::step][: max(BATCHES)]
    ]
    logits = jax.vmap(jaxattr.predict, (None, 0))(model, jnp.asarray(np.stack(photos)))
    rng, (height, width) = np.random.default_rng(0), model.config.image_size
    grids = (rng.random((MASKS, CELLS, CELLS)) < KEPT).astype(np.float32)
    shifts = rng.integers(0, -(-height // CELLS), (MASKS, 2), np.int32)
    matrix = linear(CELLS, (CELLS + 1) * -(-height // CELLS), "mirror")
    masks = [
        (matrix[y : y + height] @ grid @ matrix[x : x + width].T).astype(np.float32)
        for grid, (y, x) in zip(grids, shifts, strict=True)
    ]
    noise = rng.standard_normal((SAMPLES, height, width, 3), np.float32)
    np.savez(folder / "given.npz", images=np.stack(photos), classes=np.asarray(logits).argmax(1),
             noise=noise, grids=grids, shifts=shifts, masks=np.stack(masks))  # fmt: skip


def table(result: dict[str, Any]) -> str:
    lines = [
        "| method | against | batch | peer ms/image | jaxattr ms/image | ratio (range) | "
        "of CPU time | rounds | correlation |",
        "|---|---|--:|--:|--:|---|--:|--:|--:|",
    ]
    for row in result["rows"]:
        low, high = row["ratio_range"]
        warning = "" if row["correlation"] > ALIKE else " (!)"
        lines.append(
            f"| `{row['method']}` | {row['peer']} | {row['batch']} | {row['peer_ms']:.1f} | "
            f"{row['jaxattr_ms']:.1f} | {row['ratio']:.2f} ({low:.2f}-{high:.2f}) | "
            f"{row['cpu_ratio']:.2f} | "
            f"{row['rounds']} | {row['correlation']:.5f}{warning} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
