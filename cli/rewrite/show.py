"""What `jaxattr rewrite` writes and says: the picture, decoded again, and how far it went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import output
from jaxattr.cli.common.interrupt import interruptible

if TYPE_CHECKING:
    from jaxattr.cli.rewrite.run import Photo, Progress
    from jaxattr.data.labels import LabelTable
    from jaxattr.experiments.session import Outcome, Task


class Written:
    """The result of one run. Everything after `write` is of the file, decoded again."""

    def __init__(self, table: LabelTable, task: Task, progress: Progress, photo: Photo) -> None:
        from jaxattr.data.images import normalize
        from jaxattr.experiments.session import Outcome, logits_of

        assert progress.best is not None
        self.table, self.task, self.photo = table, task, photo
        before = logits_of(task.model, normalize(task.pixels, task.model.preprocessing))
        self.outcome: Outcome = Outcome(task, progress.best, tuple(progress.tried), before, before)
        self.path = Path()

    def write(self, folder: Path, name: str, formats: tuple[str, ...]) -> Iterator[Path]:
        """The picture, then the comparisons; yields their paths."""
        from jaxattr.experiments.session import as_picture, look_again

        model, pixels = self.task.model, self.outcome.pixels
        self.path = folder / f"{name}.png"
        picture = as_picture(self.photo.image, pixels, model.preprocessing)
        output.write(self.path, output.as_png(picture))
        self.outcome = replace(self.outcome, after=look_again(model, self.path, pixels))
        yield self.path
        for format in dict.fromkeys(formats):
            path = folder / f"{name}-comparison.{format}"
            output.write(path, self._comparison(format))
            yield path

    def how_close(self) -> str:
        """How the new class stands in the decoded file."""
        found, new = self.outcome, self.task.new
        name, best = self.table.short(new), int(found.after.argmax())
        if best == new:
            return f"{name} is first and leads by {found.margin:.2f} logits"
        other, chances = self.table.short(best), found.probabilities[1]
        return (
            f"{name} is {-found.margin:.2f} logits behind {other} "
            f"(probability {chances[new]:.3f}, {other} {chances[best]:.3f})"
        )

    def report(self) -> str:
        """The classes before and after, and the distances."""
        found, (before, after) = self.outcome, self.outcome.probabilities
        order = (-found.after).argsort(kind="stable")[:2]
        shown = list(dict.fromkeys([self.task.old, self.task.new, *map(int, order)]))
        rows = [
            (
                f"  {self.table.short(index)}",
                f"{before[index]:.4f}",
                f"{after[index]:.4f}",
                f"{found.before[index]:.3f}",
                f"{found.after[index]:.3f}",
            )
            for index in shown
        ]
        header = ("  class", "probability", "after", "logit", "after")
        lines = [output.table(header, rows, left=1), f"  {found.sentence()}"]
        if self.task.search:
            lines.append(f"  {self._budget()}")
        return "\n".join(lines)

    def _budget(self) -> str:
        least = self.outcome.smallest_budget
        failed = [budget for budget, reached in self.outcome.budgets if not reached]
        if least is None:
            return f"smallest L-infinity budget: none up to {max(failed, default=0)} was enough"
        below = f"{max((one for one in failed if one < least), default=0)} failed"
        below = below if least > 1 else "no change at all fails"
        return f"smallest L-infinity budget: {least} of 255 ({below})"

    def _comparison(self, format: str) -> bytes:
        interruptible(lambda: self.outcome.maps)  # computed once
        if format == "json":
            return output.as_json(self._content())
        from jaxattr.plot import figures

        return figures.encode(self.outcome.plot(self.table), format)

    def _content(self) -> dict[str, Any]:
        import math

        found = self.outcome
        distance = found.distances._asdict()
        distance["psnr"] = distance["psnr"] if math.isfinite(distance["psnr"]) else None
        return {
            "image": str(self.photo.path),
            "picture": str(self.path),
            "model": self.task.model.name,
            "origin": output.origin(self.task.model),
            "from": self.task.old,
            "to": self.task.new,
            "labels": {i: self.table.short(i) for i in (self.task.old, self.task.new)},
            "reached": found.reached,
            "margin": found.margin,
            "step": int(found.best.best_step),
            "budgets": [list(one) for one in found.budgets],
            "distances": distance,
            "logits_before": found.before,
            "logits_after": found.after,
            "maps": found.maps.astype(float),
        }
