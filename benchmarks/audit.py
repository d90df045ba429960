"""What an audit costs beside a forward pass and beside its explanations: time, rate, peak memory.

    python benchmarks/audit.py --model MODEL --images FOLDER --output benchmarks/results/audit.json

Runs the stages of `jaxattr audit` in processes of their own (so that each peak is its own):
evidence, the questions put to the model, findings and report; then the forward pass and the
explanations alone of images from memory. Ratios are of time an image, by the clock and by the
processor's time, which other work on the machine disturbs less.
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

from jaxattr.audit.inference.analysis import Analysis


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--images", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--keep", type=Path, help="folder for the report (default: thrown away)")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        arguments.keep = arguments.keep or Path(temporary) / "audit"
        gathered = run_part("gather", arguments)
        arguments.count = min(gathered["images"], 200)
        forward = run_part("forward", arguments)
        asked = run_part("ask", arguments)
        reported = run_part("report", arguments)
        explained = run_part("explain", arguments)
    parts = {"evidence": gathered, "questions": asked, "findings_and_report": reported}
    parts["explain_alone"] = explained
    result = {
        "model": arguments.model,
        "images": gathered["images"],
        "audit": gathered,
        "questions": asked,
        "findings_and_report": reported,
        "forward_alone": forward,
        "explain_alone": explained,
        "rate_against_explain_alone": round(gathered["rate"] / explained["rate"], 3),
        "forward_passes": {
            clock: {
                name: round(part[clock] / part["images"] / (forward[clock] / forward["images"]), 2)
                for name, part in parts.items()
            }
            for clock in ("seconds", "processor_seconds")
        },
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
    from jaxattr.audit.evidence.gather import gather, make_receipt
    from jaxattr.audit.ledger import open_ledger
    from jaxattr.data.dataset import index

    model = jaxattr.load(arguments.model)
    dataset = index(arguments.images, model.labels, limit=arguments.limit)
    compile_first(model)
    start = clocks()
    receipt = make_receipt(model, dataset, total=len(dataset.files), method="complete")
    gather(model, dataset, open_ledger(arguments.keep, receipt))
    return timed(start, len(dataset.files))


def ask_part(arguments: Any) -> dict[str, Any]:
    """The questions that the ledger raises, put to the model; compilation is part of it."""
    import jaxattr
    from jaxattr.audit.ledger import read_ledger
    from jaxattr.audit.probes import Subject, ask, open_questions

    model = jaxattr.load(arguments.model)
    ledger = read_ledger(arguments.keep)
    start = clocks()
    count = len(open_questions(Analysis(ledger)))
    ask(Subject(model, Analysis(ledger), Path(arguments.images)))
    return timed(start, ledger.receipt.count) | {"questions": count}


def report_part(arguments: Any) -> dict[str, Any]:
    """Findings, summary and report, from the ledger alone."""
    from jaxattr.audit.findings import find
    from jaxattr.audit.ledger import read_ledger
    from jaxattr.audit.report import render
    from jaxattr.audit.report.summary import summarize

    shares = finder_shares(read_ledger(arguments.keep))
    start = clocks()
    ledger = read_ledger(arguments.keep)
    findings = find(Analysis(ledger))
    found = time.perf_counter()
    page = render(Analysis(ledger), summarize(ledger), findings)
    (arguments.keep / "report.html").write_text(page, encoding="utf-8")
    result = timed(start, ledger.receipt.count)
    result |= {"findings": len(findings), "findings_seconds": round(found - start[0], 2)}
    result |= {"finders": shares}
    return result | {"report_mib": round(len(page.encode()) / 2**20, 2)}


def finder_shares(ledger: Any) -> dict[str, list[float]]:
    """Seconds by the clock and of the processor: the posterior, then every finder given it."""
    from jaxattr.audit.findings import FINDERS

    shares, analysis = {}, Analysis(ledger)
    for name, finder in {"posterior": lambda one: one.posterior, **FINDERS}.items():
        start = clocks()
        finder(analysis)
        shares[name] = [round(b - a, 2) for a, b in zip(start, clocks(), strict=True)]
    return shares


def explain_part(arguments: Any) -> dict[str, Any]:
    """The same evidence function on images that lie in memory."""
    from jaxattr.audit.evidence.compute import evidence_batch

    return in_memory(arguments, evidence_batch)


def forward_part(arguments: Any) -> dict[str, Any]:
    """One forward pass of images that lie in memory: one view."""
    import jax

    from jaxattr.gradients import over_images
    from jaxattr.vit import predict

    @jax.jit
    def forward(model: Any, images: Any, labels: Any) -> Any:
        return over_images(lambda image, label: predict(model, image), images, labels)

    return in_memory(arguments, forward)


def in_memory(arguments: Any, function: Any) -> dict[str, Any]:
    import jax
    import numpy as np

    import jaxattr
    from jaxattr.audit.evidence.gather import default_batch_size

    model = jaxattr.load(arguments.model)
    size = default_batch_size()
    shape = (size, *model.config.image_size, model.config.channels)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    labels = np.zeros(size, np.int32)
    batch = jax.numpy.asarray(images), jax.numpy.asarray(labels)
    jax.block_until_ready(function(model, *batch))
    start = clocks()
    batches = max(1, arguments.count // size)
    for _ in range(batches):
        jax.block_until_ready(function(model, *batch))
    return timed(start, batches * size)


def compile_first(model: Any) -> None:
    import jax
    import jax.numpy as jnp

    from jaxattr.audit.evidence.compute import evidence_batch
    from jaxattr.audit.evidence.gather import default_batch_size

    size = default_batch_size()
    shape = (size, *model.config.image_size, model.config.channels)
    jax.block_until_ready(evidence_batch(model, jnp.zeros(shape), jnp.zeros(size, jnp.int32)))


def clocks() -> tuple[float, float]:
    """Now, by the clock and by the processor's time of this process."""
    return time.perf_counter(), time.process_time()


def timed(start: tuple[float, float], count: int) -> dict[str, Any]:
    seconds, processor = (b - a for a, b in zip(start, clocks(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rate = round(count / seconds, 2)
    result = {"images": count, "seconds": round(seconds, 2), "rate": rate, "peak_mib": peak}
    return result | {"processor_seconds": round(processor, 2)}


PARTS = {
    "gather": gather_part,
    "ask": ask_part,
    "report": report_part,
    "explain": explain_part,
    "forward": forward_part,
}


if __name__ == "__main__":
    main()
