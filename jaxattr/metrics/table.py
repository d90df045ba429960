"""All metrics of `jaxattr bench methods`, under Quantus' headings (Hedström et al. 2023)."""

from __future__ import annotations

from typing import NamedTuple

HEADINGS = (
    "faithfulness",
    "robustness",
    "localisation",
    "complexity",
    "randomisation",
    "axiomatic",
)


class Metric(NamedTuple):
    """A row of `METRICS`. The id is versioned: a changed definition gets a new one."""

    id: str
    heading: str
    definition: str
    better: str
    """`higher` or `lower`."""
    cost: str
    """For one map of one image: forward passes (F), further maps of the method (M); L layers."""
    masks: bool
    """Whether it needs masks of the objects."""
    source: str
    blind: str
    """What it cannot tell."""

    @property
    def name(self) -> str:
        """The id without its version."""
        return self.id.rsplit("-v", 1)[0]


_HOLES = "a loss because of the hole, which no training image has, from one of evidence"
_MASKS = "evidence that is rightly outside the object; a model that looks elsewhere"
_ROWS = (
    ("positive-v1", "faithfulness", "area under the class's probability, highest scores masked "
     "black first, 0 to 90 %", "lower", "9F", False, "Chefer et al. 2021", _HOLES),
    ("negative-v1", "faithfulness", "the same, lowest scores first", "higher", "9F", False,
     "Chefer et al. 2021", "which of the kept patches mattered"),
    ("deletion-v1", "faithfulness", "the same to the end, highest first, 0 to 100 %", "lower",
     "13F", False, "Petsiuk et al. 2018", _HOLES),
    ("insertion-v1", "faithfulness", "area under the class's probability, highest scores shown "
     "first in a blurred image", "higher", "13F", False, "Petsiuk et al. 2018",
     "evidence that blurring leaves in place"),
    ("saco-v1", "faithfulness", "do ten groups of patches lose probability in the order of their "
     "sums, pairs weighted by the sums' difference", "higher", "11F", False, "Wu et al. 2024",
     "patches within a group; evidence that others stand in for"),
    ("road-v1", "faithfulness", "half of what the class's probability keeps more, lowest first "
     "against highest first, removed patches imputed from neighbours", "higher", "18F", False,
     "Rong et al. 2022", "objects that imputation restores"),
    ("srg-v1", "faithfulness", "area under the class's logit, lowest scores masked first, less "
     "that with the highest first; ImageNet's mean colour, at most 100 steps", "higher", "<=202F",
     False, "Blücher et al. 2024, Berend et al. 2026", "evidence that others stand in for; logits "
     "of different models have different scales"),
    ("infidelity-v1", "faithfulness", "share of the logit's changes under random masks that sums "
     "of the map, best scaled, do not predict", "lower", "65F", False, "Yeh et al. 2019",
     "maps without a scale, such as attention, from wrong ones"),
    ("sensitivity-v1", "robustness", "largest relative change of the map over 10 draws of noise of "
     "±0.02", "lower", "10M", False, "Yeh et al. 2019", "a steady map from a right one"),
    ("gridpg-v1", "localisation", "share of positive evidence in the class's own cell of a mosaic "
     "of four recognised images", "higher", "1M", False, "Böhle et al. 2021",
     "where in the cell; whether the mosaic is still recognised"),
    ("gridpg-3x3-v1", "localisation", "the same of nine images", "higher", "1M", False,
     "Böhle et al. 2021", "the same, and images a third of their size"),
    ("localisation-v1", "localisation", "positive evidence inside the object over all of it",
     "higher", "0", True, "Kohlbrenner et al. 2020", _MASKS),
    ("energypg-v1", "localisation", "the same inside the smallest box around the object", "higher",
     "0", True, "Wang et al. 2020", "the box's corners from the object"),
    ("pointing-v1", "localisation", "the highest patch is covered by the object by half", "higher",
     "0", True, "Zhang et al. 2018", "all but one patch"),
    ("pixel-accuracy-v1", "localisation", "share of pixels on the right side of the map's mean",
     "higher", "0", True, "Guillaumin et al. 2014", _MASKS),
    ("mean-iou-v1", "localisation", "the same as mean IoU of object and background", "higher",
     "0", True, "Guillaumin et al. 2014", _MASKS),
    ("map-v1", "localisation", "average precision of the map for object and background", "higher",
     "0", True, "Guillaumin et al. 2014", _MASKS),
    ("sparseness-v1", "complexity", "Gini's index of |S|", "higher", "0", False,
     "Chalasani et al. 2020", "anything about the model"),
    ("complexity-v1", "complexity", "entropy of the shares of |S|, in nats", "lower", "0", False,
     "Bhatt et al. 2020", "anything about the model"),
    ("mprt-v1", "randomisation", "mean rank correlation with the maps of the model with its "
     "parameters drawn anew, from the head downwards", "lower", "(L+2)M", False,
     "Adebayo et al. 2018", "an explanation from noise, which passes"),
    ("completeness-v2", "axiomatic", "distance of the map's sum from the loss's change, over that "
     "change, for methods that promise it", "lower", "2F", False,
     "Sundararajan et al. 2017", "where the evidence lies"),
)  # fmt: skip
METRICS: dict[str, Metric] = {one.name: one for one in (Metric(*row) for row in _ROWS)}
CHEAP = tuple(
    name
    for name in METRICS
    if name in ("deletion", "insertion", "saco", "sparseness", "complexity") or METRICS[name].masks
)
"""What is taken where nothing is asked for: at most 37 forward passes for a map."""
