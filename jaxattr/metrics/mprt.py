from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from jaxattr.metrics.context import Context
from jaxattr.metrics.likeness import likeness
from jaxattr.metrics.metric import metric
from jaxattr.vit import Model, stages

Maps = Float[np.ndarray, "*batch row column"]


def cascade(model: Model, drawn: Model) -> list[Model]:
    """The model with more and more parameters of another: the head, then block by block downwards.

    The first has the other's head, the second also its last block and the last norm, ..., the last
    all of it. All have the model's name and labels, so that nothing is compiled twice.
    """
    parameters, result = dict(model.parameters), []
    for stage in stages(model):
        parameters |= {name: drawn.parameters[name] for name in stage}
        result.append(replace(model, parameters=dict(parameters)))
    return result


def spearman(first: Maps, second: Maps) -> Float[np.ndarray, "*batch"]:
    """Spearman's rank correlation over patches of two maps, ties averaged; NaN for constant maps.

    The likeness of the model-parameter randomisation test: that of a map with the map of a model
    whose parameters were drawn again, averaged over the stages of `cascade`. Lower is better, near
    0: a map that does not change does not explain the model. Noise passes, too. Costs a map per
    stage. Source: Adebayo et al. 2018; `mprt-v1`.
    """
    one, two = (
        rankdata(maps.reshape(*maps.shape[:-2], -1), axis=-1).reshape(maps.shape)
        for maps in (first, second)
    )
    return likeness(one, two)


@metric(
    id="mprt-v1",
    heading="randomisation",
    definition="mean rank correlation with the maps of the model with its parameters drawn again, "
    "from the head downwards",
    better="lower",
    cost="(L+2)M",
    explains=True,
    source="Adebayo et al. 2018",
    blind="an explanation from noise, which passes",
)
def score_randomisation(context: Context) -> np.ndarray:
    """The mean over the stages of `cascade` at which `spearman` is defined.

    Not asked of maps that are made with random weights in the first place.
    """
    if context.explained is not context.model:
        return np.full(len(context.names), np.nan)
    found = []
    for stage, model in enumerate(cascade(context.model, context.drawn)):
        given = context.images, context.classes, context.names
        maps = context.explain(*given, model=model, purpose=1 + stage)
        found.append(spearman(context.maps, maps))
    values = np.stack(found)
    defined = np.isfinite(values)
    count, total = defined.sum(axis=0), np.where(defined, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
