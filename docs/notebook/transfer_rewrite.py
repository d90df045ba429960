"""The tables of `transfer.md` and `rewrite.md`, measured again.

`python docs/notebook/transfer_rewrite.py` measures the embedded model on held-out scenes, whose
truth is known, and writes the tables between the marks of both pages. With `--model FOLDER --photos
FOLDER` it measures that model on photos instead: elephants with zebras, a cat with a dog, and the
rewriting of single photos; FOLDER holds `demo/` and `imagenet-photos/`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from jaxattr import checkpoints as models
from jaxattr import losses, metrics, scenes
from jaxattr.bench.explanations import trials
from jaxattr.data import images
from jaxattr.data.labels import LabelTable
from jaxattr.experiments.budget import smallest_budget
from jaxattr.experiments.distances import distances
from jaxattr.experiments.rewrite import Limits, rewrite
from jaxattr.experiments.transfer import PAPER, frozen_maps, transfer
from jaxattr.gradients import over_images
from jaxattr.methods import METHODS
from jaxattr.vit import Model

PAGES = Path(__file__).parent
SCENES, PER_CLASS, SEED = 30, 3, 7
STEPS = np.array([0, 1, 2, 5, 10, 20, 40, 80], np.int32)
ATTACK_STEPS, LARGEST = 60, 16

# Photo, the class whose logit moves, the other class, and where the target's half is:
# the axis (0: rows, 1: columns), where it is cut, and whether the target is before the cut.
PAIRS = (
    ("el1.png", "zebra", "African elephant", 1, 0.45, True),
    ("el2.png", "zebra", "African elephant", 0, 0.50, False),
    ("el3.png", "zebra", "African elephant", 1, 0.42, False),
    ("el4.png", "zebra", "African elephant", 0, 0.50, False),
    ("catdog.png", "bull mastiff", "tiger cat", 0, 0.55, True),
)
REWRITTEN = (
    ("imagenet-photos/n01871265/tusker.jpg", "bull mastiff"),
    ("imagenet-photos/n01871265/tusker.jpg", "zebra"),
    ("demo/el1.png", "African elephant"),
    ("demo/catdog.png", "tabby"),
    ("demo/ILSVRC2012_val_00000073.jpeg", "bald eagle"),
    ("demo/goldfish.jpg", "tench"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--only", choices=["transfer", "rewrite"])
    arguments = parser.parse_args()
    model = models.load(arguments.model)
    if arguments.photos:
        parts = {"transfer": photo_transfer, "rewrite": photo_rewrite}
        parts = {name: partial(part, root=arguments.photos) for name, part in parts.items()}
        mark = "photos"
    else:
        parts, mark = {"transfer": scene_transfer, "rewrite": scene_rewrite}, "scenes"
    for name, part in parts.items():
        if arguments.only in (None, name):
            replace(PAGES / f"{name}.md", f"<!-- {mark} -->", part(model))


def replace(page: Path, mark: str, text: str) -> None:
    print(text, flush=True)
    before, _, after = page.read_text(encoding="utf-8").split(mark)
    page.write_text(f"{before}{mark}\n\n{text}\n\n{mark}{after}", encoding="utf-8")


def scene_transfer(model: Model) -> str:
    """First-step maps, and where the positive mass goes on scenes of two known objects."""
    asked = trials.two_objects(SCENES, SEED, model.config.image_size[0], model.config.grid)
    chosen = slice(0, None, 2)  # one of the two targets of each scene
    arrays = prepare(model, asked.images[chosen])
    label, rival = asked.label[chosen], asked.rival[chosen]
    regions = asked.target[chosen], asked.opponent[chosen]
    lines = [first_step(model, arrays, label), ""]
    for ascend in (True, False):
        found = follow(model, arrays, label, rival, ascend)
        lines += [mass_table(found, regions, ascend, label), ""]
    return "\n".join(lines).strip()


def photo_transfer(model: Model, root: Path) -> str:
    names = LabelTable(model.labels)
    files = [root / "demo" / pair[0] for pair in PAIRS]
    arrays = np.stack([images.preprocess(file, model.preprocessing) for file in files])
    label, rival = (np.array([names.resolve(p[i]) for p in PAIRS], np.int32) for i in (1, 2))
    target = np.stack([half(model, *pair[3:]) for pair in PAIRS])
    lines = [first_step(model, arrays, label), ""]
    for ascend in (True, False):
        found = follow(model, arrays, label, rival, ascend)
        lines += [mass_table(found, (target, 1 - target), ascend, label), ""]
        rows = []
        for i, pair in enumerate(PAIRS):
            shares = metrics.positive_share(found.maps[i, :, 0].astype(np.float64), target[i])
            cells = [f"{100 * share:.0f}" for share in shares]
            rows.append((f"{pair[0]}, {pair[1]}", *cells))
        verb = "raised" if ascend else "lowered"
        head = (f"% of + in the target's own half, logit {verb}", *map(str, STEPS))
        lines += [markdown(head, rows), ""]
    return "\n".join(lines).strip()


def half(model: Model, axis: int, cut: float, before: bool) -> np.ndarray:
    """1 on the patches of the target's half of a photo."""
    rows, columns = model.config.grid
    index = np.arange((rows, columns)[axis]) < round(cut * (rows, columns)[axis])
    side = (index if before else ~index).astype(np.float64)
    return np.tile(side, (rows, 1)) if axis else np.tile(side[:, None], (1, columns))


def first_step(model: Model, arrays: Any, label: Any) -> str:
    """How the frozen gradient's maps compare with the total one's, before any step."""
    rows = []
    for method in ("complete", "positive", "absolute"):
        total, frozen = (np.asarray(one) for one in both(model, arrays, label, method))
        pairs = [(a.ravel(), b.ravel()) for a, b in zip(frozen, total, strict=True)]
        alike = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
        different = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]
        signs = [((a > 0) == (b > 0)).mean() for a, b in pairs]
        rows.append(
            (
                method,
                f"{np.mean(alike):.3f} ({np.min(alike):.3f})",
                f"{np.mean(different):.2f} ({np.max(different):.2f})",
                f"{100 * np.mean(signs):.0f} %",
            )
        )
    head = ("method", "correlation, mean (lowest)", "relative difference, mean (largest)", "signs")
    return f"{len(arrays)} images.\n\n{markdown(head, rows)}"


@partial(jax.jit, static_argnums=3)
def both(model: Model, arrays: Any, label: Any, method: str) -> Any:
    def one(image: Any, class_: Any) -> Any:
        total = METHODS[method].function(model, image, losses.target_logit(class_))
        return total, frozen_maps(model, image, losses.target_logit(class_[None]), method=method)[0]

    return over_images(one, arrays, label)


def follow(model: Model, arrays: Any, label: Any, rival: Any, ascend: bool) -> Any:
    """The trajectories of all images; maps of the target's and of the rival's logit."""
    found = run(model, arrays, label, rival, ascend, STEPS)
    return jax.tree.map(np.asarray, found._replace(attention=None))


@jax.jit
def run(model: Model, arrays: Any, label: Any, rival: Any, ascend: Any, steps: Any) -> Any:
    def one(image: Any, target: Any, other: Any) -> Any:
        shown = losses.target_logit(jnp.stack([target, other]))
        loss = losses.target_logit(target)
        return transfer(model, image, loss, steps, explain=shown, ascend=ascend, optimizer=PAPER)

    return over_images(one, arrays, label, rival)


def mass_table(found: Any, regions: Any, ascend: bool, label: np.ndarray) -> str:
    """Where the positive mass of both maps lies over the steps, and the logits; means."""
    maps = found.maps.astype(np.float64)  # [image, frame, map, row, column]
    rows = []
    for place, whose in enumerate(("target's map", "rival's map")):
        for region, where in zip(regions, ("target", "rival"), strict=True):
            one = metrics.positive_share(maps[:, :, place], region[:, None])
            rows.append((f"{whose}: % of + on the {where}", *percent(one)))
    negative = np.maximum(-maps, 0).sum((-2, -1)) / np.abs(maps).sum((-2, -1))
    rows.append(("target's map: % of all that is negative", *percent(negative[:, :, 0])))
    own = np.take_along_axis(found.logits, label[:, None, None], axis=2)[..., 0].mean(0)
    rows.append(("target's logit", *(f"{value:.1f}" for value in own)))
    first = (found.logits.argmax(-1) == label[:, None]).mean(0)
    rows.append(("% of images with the target first", *(f"{100 * one:.0f}" for one in first)))
    moved = found.moved.mean((0, 2))
    rows.append(("attention moved, % of a row", *(f"{100 * one:.2f}" for one in moved)))
    verb = "raised" if ascend else "lowered"
    return markdown((f"target's logit {verb}; step", *map(str, STEPS)), rows)


def percent(shares: np.ndarray) -> list[str]:
    return [f"{100 * value:.0f}" for value in np.nanmean(shares, axis=0)]


def scene_rewrite(model: Model) -> str:
    """The smallest L-infinity budget from each class to its strongest rival."""
    size = model.config.image_size[0]
    drawn = [
        scenes.draw((trials.HELD_OUT + SEED, 4, number), [name], size=size).image
        for name in scenes.CLASSES
        for number in range(PER_CLASS)
    ]
    pixels = np.stack(drawn)
    logits = np.asarray(classify(model, prepare(model, pixels)))
    order = np.argsort(-logits, axis=1)
    own = np.repeat(np.arange(len(scenes.CLASSES)), PER_CLASS)
    known = order[:, 0] == own
    found = search(model, pixels, order[:, 0].astype(np.int32), order[:, 1].astype(np.int32))
    budgets = np.asarray(found.linf)
    rows = []
    for index, name in enumerate(scenes.CLASSES):
        mine = known & (own == index)
        rivals = {scenes.CLASSES[i] for i in order[mine, 1]}
        numbers = " ".join(str(b) if b <= LARGEST else f"> {LARGEST}" for b in budgets[mine])
        lead = (logits[mine, order[mine, 0]] - logits[mine, order[mine, 1]]).mean()
        rows.append((name, ", ".join(sorted(rivals)), f"{lead:.1f}", numbers or "none recognised"))
    head = ("class", "strongest rivals", "lead, logits", "smallest L-infinity of 255")
    flipped = budgets[known & (budgets <= LARGEST)]
    reached = np.asarray(classify(model, prepare(model, np.asarray(found.rewritten.pixels))))
    checked = (reached.argmax(1) == order[:, 1])[known & (budgets <= LARGEST)].mean()
    text = (
        f"{known.sum()} of {len(known)} scenes are recognised; {len(flipped)} of them flip with at "
        f"most {LARGEST} grey levels, median {np.median(flipped):.0f}; {checked:.0%} of these have "
        "the new class when looked at again."
    )
    return f"{text}\n\n{markdown(head, rows)}"


@jax.jit
def search(model: Model, pixels: Any, old: Any, new: Any) -> Any:
    def one(image: Any, first: Any, second: Any) -> Any:
        return smallest_budget(
            model,
            image,
            second,
            loss=losses.difference(first, second),
            limits=Limits(margin=0.1),
            steps=ATTACK_STEPS,
            largest=LARGEST,
        )

    return over_images(one, pixels, old, new)


def photo_rewrite(model: Model, root: Path) -> str:
    """Without a budget, and with the smallest L-infinity budget."""
    names = LabelTable(model.labels)
    rows = []
    for file, wanted in REWRITTEN:
        pixels = images.fit(images.decode(root / file), model.preprocessing)
        before = np.asarray(classify(model, prepare(model, pixels[None])))[0]
        old, new = int(before.argmax()), names.resolve(wanted)
        free = free_rewrite(model, pixels, np.int32(old), np.int32(new))
        least = search(model, pixels[None], np.int32([old]), np.int32([new]))
        budget = int(least.linf[0])
        small = jax.tree.map(lambda leaf: leaf[0], least.rewritten)
        for one, how in ((free, "none"), (small, f"{budget}" if budget <= LARGEST else "fails")):
            picture = np.asarray(one.pixels)
            logits = np.asarray(classify(model, prepare(model, picture[None])))[0]
            d = distances(pixels, picture)
            rows.append(
                (
                    f"{Path(file).name}: {names.short(old)} to {names.short(new)}",
                    how,
                    f"{softmax(before)[old]:.3f} ({before[old]:.2f})",
                    f"{names.short(int(logits.argmax()))} {softmax(logits).max():.3f} "
                    f"({logits.max():.2f})",
                    str(int(one.best_step)),
                    str(d.linf),
                    f"{d.l2:.0f}",
                    f"{d.psnr:.1f}",
                    f"{d.ssim:.4f}",
                    f"{100 * d.changed:.0f}",
                )
            )
    head = ("photo", "budget", "p (logit) before", "first after, p (logit)", "steps")
    return markdown((*head, "L-inf", "L2", "PSNR", "SSIM", "% changed"), rows)


@jax.jit
def free_rewrite(model: Model, pixels: Any, old: Any, new: Any) -> Any:
    return rewrite(model, pixels, new, loss=losses.difference(old, new))


@jax.jit
def classify(model: Model, arrays: Any) -> Any:
    return over_images(lambda image: model.forward(image)[0], arrays)


def prepare(model: Model, pixels: np.ndarray) -> np.ndarray:
    return np.stack([images.normalize(one, model.preprocessing) for one in pixels])


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
