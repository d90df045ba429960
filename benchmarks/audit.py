"""What an audit costs beside its explanations: time, rate, share of explanation, peak memory.

    python benchmarks/audit.py --model MODEL --images FOLDER --output benchmarks/results/audit.json

Runs `jaxattr audit` in a process of its own (so that the peak is its own), then explains the same
number of images from memory, with the same three losses, and gives the ratio of the two rates.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--images", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--keep", type=Path, help="folder for the report (default: thrown away)")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", choices=["gather", "report", "explain"], help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        arguments.keep = arguments.keep or Path(temporary) / "audit"
        gathered = run_part("gather", arguments)
        reported = run_part("report", arguments)
        arguments.count = min(gathered["images"], 200)
        explained = run_part("explain", arguments)
    result = {
        "model": arguments.model,
        "images": gathered["images"],
        "audit": gathered,
        "findings_and_report": reported,
        "explain_alone": explained,
        "rate_against_explain_alone": round(gathered["rate"] / explained["rate"], 3),
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run_part(part: str, arguments: Any) -> dict[str, Any]:
    options = {"model": arguments.model, "images": arguments.images, "keep": arguments.keep}
    options |= {"limit": arguments.limit, "count": arguments.count}
    command = [sys.executable, __file__, "--part", part]
    for name, value in options.items():
        command += [] if value is None else [f"--{name}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def gather_part(arguments: Any) -> dict[str, Any]:
    """The evidence stage alone, compiled before the clock starts."""
    import jaxattr
    from jaxattr.audit.dataset import index
    from jaxattr.audit.gather import gather, make_receipt
    from jaxattr.audit.ledger import open_ledger

    model = jaxattr.load(arguments.model)
    dataset = index(arguments.images, model.labels, limit=arguments.limit)
    compile_first(model)
    start = time.perf_counter()
    receipt = make_receipt(model, dataset, total=len(dataset.files), method="complete")
    gather(model, dataset, open_ledger(arguments.keep, receipt))
    return timed(start, len(dataset.files))


def report_part(arguments: Any) -> dict[str, Any]:
    """Findings, summary and report, from the ledger alone."""
    from jaxattr.audit.findings import find
    from jaxattr.audit.ledger import read_ledger
    from jaxattr.audit.report import render
    from jaxattr.audit.summary import summarize

    start = time.perf_counter()
    ledger = read_ledger(arguments.keep)
    findings = find(ledger)
    found = time.perf_counter()
    page = render(ledger, summarize(ledger), findings)
    (arguments.keep / "report.html").write_text(page, encoding="utf-8")
    result = timed(start, ledger.receipt.count)
    result |= {"findings": len(findings), "findings_seconds": round(found - start, 2)}
    return result | {"report_mib": round(len(page.encode()) / 2**20, 2)}


def explain_part(arguments: Any) -> dict[str, Any]:
    """The same evidence function on images that lie in memory."""
    import jax
    import numpy as np

    import jaxattr
    from jaxattr.audit.evidence import evidence_batch
    from jaxattr.audit.gather import default_batch_size

    model = jaxattr.load(arguments.model)
    compile_first(model)
    size = default_batch_size()
    shape = (size, *model.config.image_size, model.config.channels)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    labels = np.zeros(size, np.int32)
    start = time.perf_counter()
    batches = max(1, arguments.count // size)
    for _ in range(batches):
        jax.block_until_ready(
            evidence_batch(model, jax.numpy.asarray(images), jax.numpy.asarray(labels))
        )
    return timed(start, batches * size)


def compile_first(model: Any) -> None:
    import jax
    import jax.numpy as jnp

    from jaxattr.audit.evidence import evidence_batch
    from jaxattr.audit.gather import default_batch_size

    size = default_batch_size()
    shape = (size, *model.config.image_size, model.config.channels)
    jax.block_until_ready(evidence_batch(model, jnp.zeros(shape), jnp.zeros(size, jnp.int32)))


def timed(start: float, count: int) -> dict[str, Any]:
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rate = round(count / seconds, 2)
    return {"images": count, "seconds": round(seconds, 2), "rate": rate, "peak_mib": peak}


PARTS = {"gather": gather_part, "report": report_part, "explain": explain_part}


if __name__ == "__main__":
    main()
