"""Strict numerics for every test, and where the outside data lies."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")

# Most of the tests' time is compiling tiny networks: most of it goes with little optimisation.
# XLA reads this when the first array is made. Tests that run real networks compile with `FULL`.
_FLAGS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
FULL = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
if version("jaxlib").startswith("0.10."):  # a flag that XLA does not know ends the process
    _FLAGS |= {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
    FULL |= {"xla_cpu_use_fusion_emitters": True, "xla_cpu_parallel_codegen_split_count": 32}
os.environ.setdefault(
    "XLA_FLAGS", " ".join(f"--{name}={str(value).lower()}" for name, value in _FLAGS.items())
)

# The same networks are compiled in many files: a worker keeps what it has compiled, and processes
# that tests start take it from there. Workers share nothing: JAX writes these files in place.
CACHE = tempfile.mkdtemp(prefix="jaxattr-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# What a shell starts in the background ignores Ctrl-C, and so do its children; tests send it.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("JAXATTR_SHARED", ROOT.parent / "shared"))
GOLDEN = Path(os.environ.get("JAXATTR_GOLDEN", SHARED / "golden"))

CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def outside(*parts: str) -> Path:
    """A path in the outside data folder, or skip the test with the reason."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"outside data {'/'.join(parts)} is not in JAXATTR_SHARED ({SHARED})")
    return path


@pytest.fixture
def x64():
    """Run one test with 64-bit types."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def tiny_config():
    """Odd sizes on purpose: a 2 x 3 grid, 3 layers, 2 heads."""
    from jaxattr.vit import ViTConfig

    return ViTConfig(
        image_size=(8, 12),
        patch_size=(4, 4),
        hidden_size=12,
        layers=3,
        heads=2,
        mlp_size=20,
        classes=5,
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_config):
    """A small random model whose attention is far from uniform."""
    from jaxattr.vit import initialize

    model = initialize(tiny_config, jax.random.key(0), labels=("a", "b", "c", "d", "e"))
    return jax.tree.map(lambda leaf: (leaf + 0.01) * 12 if leaf.ndim > 1 else leaf, model)


@pytest.fixture(scope="session")
def tiny_images():
    """Four normalised images for `tiny_model`."""
    return jax.random.normal(jax.random.key(1), (4, 8, 12, 3), jnp.float32)


@pytest.fixture(scope="module")
def browser():
    """Chromium for the report's page; skips where Playwright or Chromium is missing."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (extra `browser`)"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM))
        yield running
        running.close()
