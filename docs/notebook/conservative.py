"""The tables of `conservative.md`, from `benchmarks/results/conservative-*.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_suffix(".md")
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SIGNS = {
    "two objects; log-odds; sign_accuracy": "two objects: both signs",
    "one object; log-odds; sign_accuracy": "one object: sign",
    "two objects; log-odds; positive_in_target": "two objects: + in target",
    "one object; log-odds; positive_in_target": "one object: + in object",
    "one object; log-odds; iou_best": "IoU, best",
    "twins; difference; part_hit": "part hit, difference",
    "twins; log-odds; part_hit": "part hit, log-odds",
}
FAITHFULNESS = {
    "deletion": "deletion ↓",
    "insertion": "insertion ↑",
    "saco": "SaCo ↑",
    "gridpg": "GridPG ↑",
    "srg": "SRG ↑",
    "srg-28": "SRG, 28 steps ↑",
    "mprt": "MPRT ↓",
}
SCENES = {
    "two objects": {
        "sign_accuracy": "both signs right",
        "positive_in_target": "+ in target",
        "pointing_positive": "points at target",
        "background_share": "on background",
    },
    "one object": {
        "sign_accuracy": "sign right",
        "positive_in_target": "+ in object",
        "iou_best": "IoU, best",
        "background_share": "on background",
    },
    "twins": {"part_hit": "part hit"},
}
LOWER = "background_share", "likeness"


def main() -> None:
    """Write all tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    tables: dict[str, Callable[[], str]] = {
        "tuning scenes": tuning_scenes,
        "tuning photos": tuning_photos,
        **{f"held out, {kind}": lambda kind=kind: held_scenes(kind) for kind in SCENES},
        "paired scenes": lambda: paired_scenes("heldout-scenes"),
        "paired scenes, chosen": lambda: paired_scenes("heldout-scenes-chosen"),
        "held out, photos": lambda: held_photos("mean"),
        "paired photos": lambda: held_photos("ahead"),
        "paired photos, chosen": lambda: held_photos("ahead", "heldout-photos-chosen"),
        "boxes": boxes,
        "corners": corners,
    }
    for name, table in tables.items():
        found = re.compile(f"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        if not found.search(page):
            print(f"no place for {name}")
            continue
        try:
            made = table()
        except FileNotFoundError as error:
            print(f"{name}: {error}")
            continue
        page = found.sub(lambda place, made=made: f"{place[1]}{made}{place[2]}", page)
    PAGE.write_text(page, encoding="utf-8")


def read(name: str) -> Any:
    return json.loads((RESULTS / f"conservative-{name}.json").read_text(encoding="utf-8"))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    rule = ["---"] * texts + ["--:"] * (len(head) - texts)
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))


def percent(interval: Sequence[float] | None) -> str:
    if not interval or interval[0] != interval[0]:
        return "–"
    value, low, high = (100 * one for one in interval[:3])
    return f"{value:.0f} [{low:.0f}, {high:.0f}]"


def decimals(interval: Sequence[float] | None) -> str:
    if not interval or interval[0] != interval[0]:
        return "–"
    value, low, high = interval[:3]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def left(name: str, stages: Sequence[dict[str, Any]]) -> str:
    for number, stage in enumerate(stages, 1):
        if name not in stage["stay"]:
            return f"out, {number}"
    return "stays"


def tuning_scenes() -> str:
    found = read("scenes")
    rows = []
    for name, scores in found["scores"].items():
        values = [f"{100 * scores[one][0]:.1f}" for one in SIGNS]
        behind = found["stages"][1]["behind"].get(name)
        rows.append([name, *values, percent(behind), left(name, found["stages"])])
    head = ["rules; read-out", *SIGNS.values(), "behind the best in stage 2", "stage"]
    return markdown(head, rows)


def tuning_photos() -> str:
    found = read("photos")
    first, last = found["stages"]
    rows = []
    for name, scores in found["scores"].items():
        values = [f"{scores[one][0]:.3f}" for one in FAITHFULNESS if one in scores]
        behind = first["behind"][name]
        cost = last["operations"].get(name)
        fate = "**chosen**" if name == found["chosen"] else "out, 3"
        if fate == "out, 3" and name in first["stay"]:
            fate = "out, 4"
        shown = f"{behind[0]:.2f} [{behind[1]:.2f}, {behind[2]:.2f}]"
        operations = f"{cost / 1e9:.2f}" if cost else ""
        rows.append([name, *values, f"{first['ranks'][name]:.2f}", shown, operations, fate])
    asked = [
        FAITHFULNESS[one] for one in FAITHFULNESS if one in next(iter(found["scores"].values()))
    ]
    head = ["rules; read-out", *asked, "mean rank", "behind the best", "10⁹ operations", "stage"]
    return markdown(head, rows)


def held_scenes(kind: str) -> str:
    cells: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in read("heldout-scenes")["scores"]:
        if one["scenes"] == kind:
            key = one["method"], one["model"], one["loss"]
            cells.setdefault(key, {})[one["measure"]] = [one["value"], one["low"], one["high"]]
    rows = [
        [*key, *(percent(scores.get(one)) for one in SCENES[kind])] for key, scores in cells.items()
    ]
    return markdown(["method", "model", "loss", *SCENES[kind].values()], rows, 3)


def paired_scenes(name: str) -> str:
    cells: dict[tuple[str, str], dict[Any, Any]] = {}
    asked = {
        (kind, one): f"{kind}: {title}" for kind in SCENES for one, title in SCENES[kind].items()
    }
    for one in read(name)["paired"]:
        key = one["scenes"], one["measure"]
        if one["loss"] != "logit" and key in asked:
            cells.setdefault((one["method"], one["loss"]), {})[key] = one["ahead"]
    rows = [[*key, *(percent(found.get(one)) for one in asked)] for key, found in cells.items()]
    return markdown(["method", "loss", *asked.values()], rows, 2)


def held_photos(key: str, name: str = "heldout-photos") -> str:
    found = read(name)
    methods = list(dict.fromkeys(row["method"] for row in found))
    asked = [one for one in FAITHFULNESS if any(row["metric"] == one for row in found)]
    cells = {(row["method"], row["metric"]): row.get(key) for row in found}
    rows = []
    for method in methods:
        shown = []
        for metric in asked:
            interval = cells.get((method, metric))
            shown.append(f"{decimals(interval)} ({interval[3]})" if interval else "–")
        if any(one != "–" for one in shown):
            rows.append([method, *shown])
    return markdown(["method", *(FAITHFULNESS[one] for one in asked)], rows)


def boxes() -> str:
    titles = {
        "inside_positive": "sum inside > 0",
        "inside_above": "inside mean > outside mean",
        "pointing": "largest value in the box",
        "positive_inside": "positive evidence inside",
    }
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for one in read("heldout-boxes")["scores"]:
        key = one["method"], one["loss"]
        cells.setdefault(key, {})[one["measure"]] = [one["value"], one["low"], one["high"]]
    rows = [[*key, *(percent(found.get(one)) for one in titles)] for key, found in cells.items()]
    return markdown(["method", "loss", *titles.values()], rows, 2)


def corners() -> str:
    found = read("heldout-corners")["share"]
    places = [one for one in next(iter(found.values())) if one != "all"]
    rows = [
        [*key.split("; "), percent(one["all"]), *(f"{100 * one[place]:.1f}" for place in places)]
        for key, one in found.items()
    ]
    return markdown(["method", "loss", "four corners", *(f"({one})" for one in places)], rows, 2)


if __name__ == "__main__":
    main()
