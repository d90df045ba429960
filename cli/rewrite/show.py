"""What `jaxattr rewrite` writes and says: the picture, decoded again, and how far it went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import output
from jaxattr.cli.rewrite.run import logits
from jaxattr.errors import ImageError

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.cli.rewrite.run import Photo, Progress, Task
    from jaxattr.data.labels import LabelTable
    from jaxattr.vit import Model


class Written:
    """The result of one run. Everything after `write` is of the file, decoded again."""

    def __init__(
        self, model: Model, table: LabelTable, task: Task, progress: Progress, photo: Photo
    ) -> None:
        import numpy as np

        from jaxattr.data.images import normalize
        from jaxattr.experiments.distances import distances

        assert progress.best is not None
        self.model, self.table, self.task, self.photo = model, table, task, photo
        self.progress = progress
        self.pixels = np.asarray(progress.best.pixels)
        self.distances = distances(task.pixels, self.pixels)
        self.before = logits(model, normalize(task.pixels, model.preprocessing)).astype(float)
        self.after = self.before
        self.path = Path()

    def write(self, folder: Path, name: str, formats: tuple[str, ...]) -> Iterator[Path]:
        """The picture, then the comparisons; yields their paths."""
        from jaxattr.data.images import normalize, preprocess

        self.path = folder / f"{name}.png"
        output.write(self.path, as_png(self.photo, self.pixels, self.model))
        again = preprocess(self.path, self.model.preprocessing)
        if (again != normalize(self.pixels, self.model.preprocessing)).any():
            raise ImageError(
                f"{self.path}: the model would see other pixels than were written, because its "
                "preprocessing resizes them; use a model whose crop is not larger than its resize."
            )
        self.after = logits(self.model, again).astype(float)
        yield self.path
        for format in dict.fromkeys(formats):
            path = folder / f"{name}-comparison.{format}"
            output.write(path, self._comparison(format))
            yield path

    @cached_property
    def margin(self) -> float:
        """Of the decoded file: the new class's logit minus the largest other one."""
        import numpy as np

        return float(self.after[self.task.new] - np.delete(self.after, self.task.new).max())

    @property
    def reached(self) -> bool:
        """Whether the decoded file has the class, with the margin up to rounding."""
        return self.margin > 0 and self.margin >= float(self.task.limits.margin) - 1e-3

    def how_close(self) -> str:
        """How the new class stands in the decoded file."""
        name, best = self.table.short(self.task.new), int(self.after.argmax())
        if best == self.task.new:
            return f"{name} is first and leads by {self.margin:.2f} logits"
        other = self.table.short(best)
        return (
            f"{name} is {-self.margin:.2f} logits behind {other} "
            f"(probability {self._after[self.task.new]:.3f}, {other} {self._after[best]:.3f})"
        )

    def report(self) -> str:
        """The classes before and after, and the distances."""
        order = (-self.after).argsort(kind="stable")[:2]
        shown = list(dict.fromkeys([self.task.old, self.task.new, *map(int, order)]))
        rows = [
            (
                f"  {self.table.short(index)}",
                f"{self._before[index]:.4f}",
                f"{self._after[index]:.4f}",
                f"{self.before[index]:.3f}",
                f"{self.after[index]:.3f}",
            )
            for index in shown
        ]
        header = ("  class", "probability", "after", "logit", "after")
        lines = [output.table(header, rows, left=1), f"  {self._distance()}"]
        if self.task.search:
            lines.append(f"  {self._budget()}")
        return "\n".join(lines)

    def _budget(self) -> str:
        enough = [linf for linf, reached in self.progress.tried if reached]
        failed = [linf for linf, reached in self.progress.tried if not reached]
        if not enough:
            return f"smallest L-infinity budget: none up to {max(failed, default=0)} was enough"
        least = f"{max((one for one in failed if one < min(enough)), default=0)} failed"
        least = least if min(enough) > 1 else "no change at all fails"
        return f"smallest L-infinity budget: {min(enough)} of 255 ({least})"

    def _distance(self) -> str:
        d, best = self.distances, self.progress.best
        assert best is not None
        return (
            f"L-infinity {d.linf}, L2 {d.l2:.1f} grey levels, PSNR {d.psnr:.1f} dB, SSIM "
            f"{d.ssim:.4f}, {d.changed:.1%} of the pixels changed, step {int(best.best_step)}"
        )

    @cached_property
    def _before(self) -> np.ndarray:
        from jaxattr.heads import probabilities

        return probabilities(self.model.config, self.before)

    @cached_property
    def _after(self) -> np.ndarray:
        from jaxattr.heads import probabilities

        return probabilities(self.model.config, self.after)

    def _comparison(self, format: str) -> bytes:
        if format == "json":
            return output.as_json(self._content())
        from jaxattr.data.images import as_rgb
        from jaxattr.plot import figures, strips

        old, new = (self.table.short(index) for index in (self.task.old, self.task.new))
        best = int(self.after.argmax())
        name = Path(self.model.name).name
        figure = strips.before_after(
            as_rgb(self.task.pixels),
            as_rgb(self.pixels),
            self._maps,
            titles=(old, self.table.short(best)),
            details=(
                f"p {self._before[self.task.old]:.3f} · logit {self.before[self.task.old]:.2f}",
                f"p {self._after[best]:.3f} · logit {self.after[best]:.2f}",
            ),
            classes=(old, new),
            distance=self._distance(),
            footer=f"{name}  ·  maps: complete, difference of the two logits",
        )
        return figures.encode(figure, format)

    @cached_property
    def _maps(self) -> np.ndarray:
        """The complete map of `l_old - l_new`, before and after."""
        import jax
        import numpy as np

        from jaxattr import losses
        from jaxattr.cli.common.interrupt import interruptible
        from jaxattr.data.images import normalize
        from jaxattr.methods import METHODS

        complete = jax.jit(METHODS["complete"].function)
        loss = losses.difference(self.task.old, self.task.new)
        arrays = [normalize(p, self.model.preprocessing) for p in (self.task.pixels, self.pixels)]
        return interruptible(
            lambda: np.stack([np.asarray(complete(self.model, one, loss)) for one in arrays])
        )

    def _content(self) -> dict[str, Any]:
        import math

        distance = self.distances._asdict()
        distance["psnr"] = distance["psnr"] if math.isfinite(distance["psnr"]) else None
        best = self.progress.best
        assert best is not None
        return {
            "image": str(self.photo.path),
            "picture": str(self.path),
            "model": self.model.name,
            "from": self.task.old,
            "to": self.task.new,
            "labels": {i: self.table.short(i) for i in (self.task.old, self.task.new)},
            "reached": self.reached,
            "margin": self.margin,
            "step": int(best.best_step),
            "budgets": [list(one) for one in self.progress.tried],
            "distances": distance,
            "logits_before": self.before,
            "logits_after": self.after,
            "maps": self._maps.astype(float),
        }


def as_png(photo: Photo, pixels: np.ndarray, model: Model) -> bytes:
    """The rewritten pixels as a file that the model's preprocessing leaves as it is.

    Where the model crops, they lie in the middle of the resized photo, so that the same resize
    changes nothing and the same crop finds them.
    """
    import io

    from PIL import Image

    from jaxattr.data.images import as_rgb, crop_offset, fit

    rounding = model.preprocessing.crop_rounding
    whole = fit(photo.image, replace(model.preprocessing, crop=None))
    (tall, wide), (height, width) = whole.shape[:2], pixels.shape[:2]
    top, left = crop_offset(tall, height, rounding), crop_offset(wide, width, rounding)
    canvas = Image.fromarray(as_rgb(whole))
    canvas.paste(Image.fromarray(as_rgb(pixels)), (left, top))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()
