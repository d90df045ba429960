"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from jaxattr.cli.common import process
from jaxattr.cli.main import Failure

if TYPE_CHECKING:
    from jaxattr.data.dataset import Dataset
    from jaxattr.vit import Model, ViTConfig

DEFAULT_MODEL = "scenes"


MOST_WORKERS = 256
_LARGEST_SIDE = 8192
LARGEST_SEED = 2**32 - 1
"""Of JAX's keys: larger ones would be cut to 32 bits."""


class Finite(click.FloatRange):
    """A number that is neither infinite nor not a number, which every comparison lets through."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Size(click.ParamType):
    """An image size: one number for a square, or HEIGHTxWIDTH."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | tuple[int, int]:
        if not isinstance(value, str):
            return value
        try:
            sides = [int(side) for side in value.lower().split("x")]
        except ValueError:
            sides = []
        if len(sides) not in (1, 2) or min(sides) < 1:
            self.fail(f"{value!r} is not a size; write 384 or 288x384 (height x width).")
        if max(sides) > _LARGEST_SIDE:
            self.fail(f"{value!r} is larger than {_LARGEST_SIDE}, the most that is possible.")
        return sides[0] if len(sides) == 1 else (sides[0], sides[1])


class Choice(NamedTuple):
    """The model that the user asks for: the arguments of `jaxattr.load`."""

    model: str
    revision: str | None
    dtype: str
    image_size: int | tuple[int, int] | None
    heads: int | None
    class_names: str | None


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--model` and what else says how it is read; the command gets them as one `choice`."""

    @wraps(command)
    def chosen(**given: Any) -> Any:
        choice = Choice(**{field: given.pop(field) for field in Choice._fields})
        return command(choice=choice, **given)

    return together(
        click.option(
            "--model",
            default=DEFAULT_MODEL,
            show_default=True,
            help="An alias (vit-base, deit-small, ...), a hub id, a folder, a .safetensors or "
            "an .npz file. The default is small, knows drawn scenes, and needs no download.",
        ),
        click.option("--revision", help="Branch, tag or commit of a hub model."),
        click.option(
            "--dtype",
            type=click.Choice(["float32", "bfloat16", "float64"]),
            default="float32",
            show_default=True,
            help="What the network computes in.",
        ),
        click.option(
            "--image-size",
            type=Size(),
            help="Input size other than the checkpoint's: 384, or 288x384 (height x width).",
        ),
        click.option(
            "--heads",
            type=click.IntRange(1, 1024),
            help="Attention heads of weights that come without a config.",
        ),
        click.option(
            "--class-names",
            metavar="FILE",
            help="The model's classes in order: a name a line, or JSON; or `imagenet`.",
        ),
    )(chosen)


def quiet_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--quiet`: nothing on stderr but warnings and errors."""
    return click.option(
        "-q", "--quiet", is_flag=True, help="No progress and notes on stderr; warnings remain."
    )(command)


def target_options(*, loss_help: str) -> Callable[..., Any]:
    """Add `--target`, `--against` and `--loss`: what of the answer is explained."""
    from jaxattr.cli.common import names

    return together(
        click.option(
            "-t",
            "--target",
            multiple=True,
            default=("top1",),
            show_default=True,
            help="Class to explain: label, wnid, index, or topN for the N most probable. "
            "Repeatable.",
        ),
        click.option(
            "--against", help="Class to set the target against, or `rival`: the strongest other."
        ),
        click.option("--loss", type=names.LOSSES, help=loss_help),
    )


def colors_option(help: str) -> Callable[..., Any]:
    """Add `--colors`: the palette of signed maps."""
    return click.option(
        "--colors",
        type=click.Choice(["diverging", "paper"]),
        default="diverging",
        show_default=True,
        help=help,
    )


patches_option = click.option(
    "--patches", is_flag=True, help="Draw the patches as squares, not smoothed."
)
MOST_VIEWS = 18
"""As `jaxattr.views.MOST`, which a test holds equal: `--help` must not import jax."""
views_option = click.option(
    "--views",
    type=click.IntRange(1, MOST_VIEWS),
    default=1,
    show_default=True,
    help="Average each map over this many views: the image, its mirror, then both moved by half a "
    "patch. 2 and 10 are symmetric; each view costs as much as the map itself.",
)
exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="NAME",
    help="Leave out folders, or labels, of this name; * and ? stand for any. Repeatable.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), help="Decoding threads."
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1, 10**10),
    help="Refuse images of more pixels; a larger limit needs more memory.  [default: 89,478,485]",
)


def folder_option(default: str, *short: str, help: str) -> Callable[..., Any]:
    """Add `--output`: the folder that a command writes, `folder` in its signature."""
    return click.option(
        *short,
        "--output",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(default),
        show_default=True,
        help=help,
    )


def files_option(kinds: Sequence[str], *, help: str) -> Callable[..., Any]:
    """Add a repeatable `--format`: what kinds of files are written, `formats`."""
    return click.option(
        "-f",
        "--format",
        "formats",
        multiple=True,
        default=("png",),
        show_default=True,
        type=click.Choice(kinds),
        help=help,
    )


def printed_options(kinds: Sequence[str], *, help: str, figure: str) -> Callable[..., Any]:
    """Add `--format` (`kind`: how a table is printed) and `--figure` (where it is drawn)."""
    return together(
        click.option(
            "-f",
            "--format",
            "kind",
            type=click.Choice(kinds),
            default="table",
            show_default=True,
            help=help,
        ),
        click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help=figure),
    )


def seed_option(help: str) -> Callable[..., Any]:
    """Add `--seed`, 0 where none is given."""
    return click.option(
        "--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True, help=help
    )


def together(*added: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator, in the order that `--help` shows."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


def idle_unless(holds: object, *names: str, why: str) -> None:
    """Refuse options that were given but would change nothing; `why`: what would give them work."""
    if holds:
        return
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "")
        if option.name in names and given is ParameterSource.COMMANDLINE:
            word = max(option.opts, key=len)
            raise click.UsageError(f"{word} does nothing here; leave it out, or {why}.")


def note(message: str, *, quiet: bool = False) -> None:
    """Say something on stderr, unless asked to be quiet; work goes on where nobody can hear it."""
    if not quiet:
        try:
            click.echo(process.printable(message), err=True)
        except OSError:
            process.discard(2)


def warn(message: str) -> None:
    """Say on stderr what the user must know, quiet or not."""
    note(f"Warning: {process.one_line(message)}")


def cache_folder() -> Path:
    """Where jaxattr keeps what it can make again: `JAXATTR_CACHE`, or a folder in XDG's cache."""
    if own := os.environ.get("JAXATTR_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxattr"


def limited(model: Model, max_pixels: int | None) -> Model:
    """The same model, which takes photos of up to so many pixels where it is said."""
    from dataclasses import replace

    if max_pixels is None:
        return model
    return replace(model, preprocessing=replace(model.preprocessing, max_pixels=max_pixels))


def load_model(choice: Choice, *, quiet: bool) -> Model:
    """Load, and say on stderr what was loaded; what was assumed or changed also when quiet."""
    from jaxattr.checkpoints import load

    model = load(
        choice.model, **{key: value for key, value in choice._asdict().items() if key != "model"}
    )
    check_fits(model)
    note(describe_model(model), quiet=quiet)
    for assumed in model.notes:
        warn(assumed)
    return model


def say_folder(dataset: Dataset) -> None:
    """On stderr: what is odd in a folder, and which of its files are not looked at."""
    for sentence in dataset.sentences:
        warn(sentence)


def check_fits(model: Model) -> None:
    """Raise a one-line error where the attention of one image is larger than the memory."""
    c = model.config
    tokens = math.prod(a // b for a, b in zip(c.image_size, c.patch_size, strict=True)) + 1
    needed = 2 * c.heads * tokens**2 * (8 if c.dtype == "float64" else 4)
    there = _memory()
    if there and needed > there:
        raise Failure(
            f"{c.image_size[0]} x {c.image_size[1]} pixels are {tokens} tokens, whose attention "
            f"takes {needed / 1e9:.0f} GB in every layer, more than this machine's "
            f"{there / 1e9:.0f} GB; pass a smaller --image-size."
        )


def _memory() -> int | None:
    """Bytes of main memory, or `None` where this system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def describe_model(model: Model) -> str:
    """Two lines: what was loaded, and what is done to photos before it sees them."""
    c, p = model.config, model.preprocessing
    steps = []
    if isinstance(p.resize, int):
        steps.append(f"shorter side to {p.resize} ({p.resample})")
    elif p.resize is not None:
        steps.append(f"resize to {p.resize[0]} x {p.resize[1]} ({p.resample})")
    if p.crop is not None:
        steps.append(f"centre crop {p.crop[0]} x {p.crop[1]}")
    if len(p.mean) == 1:
        steps.insert(0, "grey")
    if p.order == "bgr":
        steps.append("channels blue, green, red")
    if p.rescale != 1 / 255:  # not said: pixels from 0 to 1
        steps.append(f"pixels times {p.rescale:.4g}")
    for name, values in (("mean", p.mean), ("std", p.std)):
        steps.append(f"{name} {' '.join(f'{value:.4g}' for value in values)}")
    return (
        f"Model {model.name}: {c.layers} layers, {c.heads} heads, input {c.image_size[0]} x "
        f"{c.image_size[1]}, patches {c.patch_size[0]} x {c.patch_size[1]}, {_outputs(c)}, "
        f"{c.dtype}\nPreprocessing: {', '.join(steps)}"
    )


def _outputs(config: ViTConfig) -> str:
    """How many outputs there are, and what they are."""
    if config.problem == "single_label":
        return f"{config.classes} classes" if config.classes > 1 else "1 class (there or not)"
    words = {"multi_label": "label (there or not)", "regression": "value (regression)"}
    one = words[config.problem]
    return f"1 {one}" if config.classes == 1 else f"{config.classes} {one.replace(' ', 's ', 1)}"


def prepare_jax(dtype: str = "float32") -> None:
    """Let JAX keep what it compiles on disk, where that is possible; call before it compiles.

    `JAX_COMPILATION_CACHE_DIR` is JAX's own and wins. The folder is only for this user: JAX runs
    what it finds there. `dtype` float64 turns JAX's 64-bit types on. Raises a one-line error where
    there is no device of the kind that the environment asks for.
    """
    import jax

    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    _find_devices(jax)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            folder = cache_folder() / "xla"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # RuntimeError: no home folder
            return
        if not os.access(folder, os.W_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _find_devices(jax: Any) -> None:
    """Start JAX's devices now, because it says later, in many ways, that there are none."""
    try:
        jax.devices()
    except Exception as error:
        asked = {
            name: value
            for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
            if (value := os.environ.get(name))
        }
        said = " ".join(str(error).partition(" (set JAX")[0].split())[:200]
        if not asked:
            raise Failure(
                f"JAX finds no device ({said}); set JAX_PLATFORMS=cpu to do without one."
            ) from None
        name, value = next(iter(asked.items()))
        raise Failure(
            f"{name}={value}: JAX finds no such device on this machine{said and f' ({said})'}; "
            f"set {name}=cpu, or unset it to take the best device that is there."
        ) from None
