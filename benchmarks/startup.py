"""Start-up and compilation: `jaxattr --help`, and the first map with and without a warm cache.

python benchmarks/startup.py --output benchmarks/results/startup.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="*", default=["scenes"])
    parser.add_argument("--image", required=True)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    command = shutil.which("jaxattr")
    assert command, "jaxattr is not on PATH"
    result: dict[str, object] = {"help_s": sorted(timed([command, "--help"]) for _ in range(9))}
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"JAXATTR_CACHE": f"{folder}/cache"}
            explain = [command, "explain", arguments.image, "--model", model]
            explain += ["--output", f"{folder}/out", "--quiet"]
            cold = timed(explain, environment)
            warm = sorted(timed(explain, environment) for _ in range(3))
            result[model] = {"explain_cold_cache_s": cold, "explain_warm_cache_s": warm}
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def timed(command: list[str], environment: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - start, 3)


if __name__ == "__main__":
    main()
