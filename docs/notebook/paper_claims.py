"""The paper's claims in one picture, on scenes that this repository draws.

`python docs/notebook/paper_claims.py` explains two-object scenes with the embedded model, prints
how often signs are right on 100 of them, and draws the first: no scene is picked. Rows: the
conservative correction of the log-odds, which the commands draw, and the paper's three of the
target's logit (Eq. 7). Taken are the first scenes whose two most probable classes are the two
objects, and whose objects are no twins: those share every part but one.
"""

from __future__ import annotations

import io
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from scipy.special import softmax

from jaxattr import checkpoints as models
from jaxattr import losses, scenes
from jaxattr.data import images
from jaxattr.data.labels import LabelTable
from jaxattr.gradients import over_images
from jaxattr.methods import METHODS
from jaxattr.plot import figures

LOSSES = {
    "conservative": ("log-odds", losses.log_odds),
    "complete": ("logit", losses.target_logit),
    "positive": ("logit", losses.target_logit),
    "absolute": ("logit", losses.target_logit),
}
SIGNED = ("conservative", "complete")
COUNT = 100


@jax.jit
def explain(model, pictures, first, second):
    """`{method: [image, row, column]}`, and the signed ones of the difference."""

    def one(image, a, b):
        maps = {
            kind: METHODS[kind].function(model, image, loss(a))
            for kind, (_, loss) in LOSSES.items()
        }
        difference = losses.difference(a, b)
        pairs = {
            f"{kind}, difference": METHODS[kind].function(model, image, difference)
            for kind in SIGNED
        }
        return {**maps, **pairs}

    return over_images(one, pictures, first, second)


@jax.jit
def classify(model, pictures):
    return over_images(lambda image: model.forward(image)[0], pictures)


def balance(one, mask):
    """`sum S / sum |S|` over the patches, each weighted by how much of it the object covers."""
    rows, columns = one.shape
    height, width = mask.shape
    weight = mask.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3))
    return float((one * weight).sum() / max(float((np.abs(one) * weight).sum()), 1e-30))


def main() -> None:
    model = models.load("scenes")
    table = LabelTable(model.labels)
    drawn = [scenes.draw([7, seed], 2) for seed in range(8 * COUNT)]
    drawn = [one for one in drawn if scenes.twin(one.classes[0]) != one.classes[1]]
    arrays = np.stack([images.normalize(one.image, model.preprocessing) for one in drawn])
    logits = np.asarray(classify(model, arrays))
    classes = np.array([[table.resolve(name) for name in one.classes] for one in drawn], np.int32)
    seen = np.sort(np.argsort(-logits)[:, :2], axis=1) == np.sort(classes, axis=1)
    kept = np.flatnonzero(seen.all(axis=1))[:COUNT]
    first, second = classes[kept].T.copy()
    forth = {k: np.asarray(v) for k, v in explain(model, arrays[kept], first, second).items()}
    back = {k: np.asarray(v) for k, v in explain(model, arrays[kept], second, first).items()}
    report(drawn, kept, forth, back)
    forth, back = ({k: v[0] for k, v in maps.items()} for maps in (forth, back))
    draw(drawn[kept[0]], model, logits[kept[0]], classes[kept[0]], forth, back)


def report(drawn, kept, forth, back) -> None:
    """Print how often signs are right, and how alike the maps of the two targets are."""
    print(f"{len(kept)} scenes, both objects as the target; balance = sum S / sum |S|")
    for kind in SIGNED:
        for name, loss in ((kind, LOSSES[kind][0]), (f"{kind}, difference", "difference")):
            own, other = [], []
            for index, one in enumerate(kept):
                front, behind = drawn[one].objects
                for maps, mine, its in ((forth, front, behind), (back, behind, front)):
                    own.append(balance(maps[name][index], mine))
                    other.append(balance(maps[name][index], its))
            for where, values, sign in (("target", own, 1), ("other object", other, -1)):
                right = np.mean(np.sign(values) == sign)
                middle = np.median(values)
                print(
                    f"{kind}, {loss}: on the {where} median {middle:+.2f}, sign {right:.0%} right"
                )
    for kind, (loss, _) in LOSSES.items():
        pairs = zip(forth[kind], back[kind], strict=True)
        alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
        print(f"{kind}, {loss}: median correlation of the two maps {np.median(alike):+.2f}")


def draw(scene, model, logits, classes, forth, back) -> None:
    photo = Image.fromarray(scene.image).resize((480, 480), Image.Resampling.LANCZOS)
    probabilities = softmax(logits)
    rows = []
    for kind, (loss, _) in LOSSES.items():
        panels = []
        for maps, one in ((forth, 0), (back, 1)):
            name = scene.classes[one]
            panels.append(
                figures.Panel(
                    maps[kind],
                    f"{kind}: {name}",
                    f"p {probabilities[classes[one]]:.2f}, logit {logits[classes[one]]:.2f}",
                    f"for {name}" if kind != "absolute" else f"for or against {name}: no sign",
                    f"against {name}" if kind in SIGNED else None,
                )
            )
        title = " and ".join(scene.classes)
        figure = figures.explanation(
            np.asarray(photo),
            panels,
            title=title,
            footer=f"model {model.name}, a drawn scene, loss {loss}",
        )
        rows.append(Image.open(io.BytesIO(figures.encode(figure, "png"))).convert("RGB"))
    width, height = rows[0].size
    sheet = Image.new("RGB", (width, height * len(rows)), "white")
    for index, row in enumerate(rows):
        sheet.paste(row, (0, index * height))
    sheet = sheet.resize((width * 2 // 3, sheet.height * 2 // 3), Image.Resampling.LANCZOS)
    sheet.save(Path(__file__).with_name("paper-claims.png"), optimize=True)


if __name__ == "__main__":
    main()
