"""Which method, with which options, makes each map of the golden files.

Keys without their `64`. Patterns, not lists, so that files of other models, whose start layers and
numbers of steps differ, are read with the same table. `NOT_YET` names what no method makes so far.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from golden_recipes import (
    CHUNK,
    PIXELS,
    Function,
    attention_relevance,
    bi_head_weights,
    bi_token_ratios,
    cam,
    convergence_delta,
    flows,
    gammas,
    integrated,
    last_gradient,
    method,
    of,
    pixels,
    relevant,
    rise,
    shares,
    shown,
    single_head,
    tam,
    tis_scores,
    vit_cx_of_pixels,
)

from jaxattr.gradients import relevance
from jaxattr.vit import ViTConfig

__all__ = ["Function", "method"]


class Tolerance(NamedTuple):
    """Of the largest entry of a map: against float64 references, and against float32 ones."""

    wide: float = 1e-8
    narrow: float = 1e-4


def _fixed(function: Function) -> Callable[..., Function]:
    return lambda config: function


_CAMS = {
    "gradcam": "grad_cam",
    "layercam": "layer_cam",
    "hirescam": "hires_cam",
    "xgradcam": "xgrad_cam",
}
_ECLIP = {
    "": {"heads": "single"},
    "_noksim": {"heads": "single", "similarity": False},
    "_notebook": {"heads": "single", "strict": True},
    "_notebook_noksim": {"heads": "single", "strict": True, "similarity": False},
}
_DIX = {"": None, "_layer1": (1,), "_layer2": (2,)}
_LRP = {"attnlrp": "attn_lrp", "cplrp": "cp_lrp", "cplrp_mha_eps": "cp_lrp"}

# Pattern, then a function of the config and of the pattern's groups that makes the function.
TABLE: tuple[tuple[str, Callable[..., Function]], ...] = (
    (r"map/raw_attention_last", _fixed(of("raw_attention"))),
    (r"map/attention_flow", _fixed(of("attention_flow"))),
    (r"aux/attention_flow_unnormalised_alltokens", _fixed(flows)),
    (r"aux/attention_flow_alltokens", _fixed(shares)),
    (r"map/rollout_abnar", _fixed(of("rollout", row_normalize=True))),
    (r"map/rollout_abnar_noresidual", _fixed(of("rollout", residual=False))),
    (
        r"map/rollout_chefer/start(\d+)",
        lambda config, start: of("rollout", row_normalize=True, start_layer=int(start)),
    ),
    (
        r"map/rollout_tam_perhead/start(\d+)",
        lambda config, start: of(
            "rollout", head_fusion="per_head", row_normalize=True, start_layer=int(start)
        ),
    ),
    (
        r"map/rollout_vitexplain/(mean|max|min)_discard([\d.]+)",
        lambda config, how, ratio: of(
            "rollout", head_fusion=how, discard_ratio=float(ratio), strict=True
        ),
    ),
    (
        r"map/gradrollout_vitexplain/discard([\d.]+)",
        lambda config, ratio: of("gradient_rollout", discard_ratio=float(ratio), strict=True),
    ),
    (r"map/gae", _fixed(of("positive"))),
    (
        r"map/gae_bi_meanfirst/start(\d+)",
        lambda config, start: of("positive", clamp="after", start_layer=int(start) - 1),
    ),
    (r"map/attn_gradcam", _fixed(of("grad_cam", site="attention", cut=True))),
    (r"seed/layercam_attn_last", _fixed(of("layer_cam", site="attention"))),
    (r"map/(gradcam|layercam)_norm1_(first|last)", lambda config, *which: cam(*which)),
    (
        r"(map|signed)/(gradcam|layercam|hirescam|xgradcam)",
        lambda config, kind, name: of(_CAMS[name], cut=kind == "map"),
    ),
    (
        r"pixmap/(gradcam|layercam)_norm1_(first|last)_final",
        lambda config, *which: shown(cam(*which), twice=True),
    ),
    (
        r"pixmap/layercam_authors_norm1_last_final",
        _fixed(shown(of("layer_cam"), moved=1e-8)),
    ),
    (r"final/(gradcam|layercam)", lambda config, name: shown(cam(name, "last"), twice=True)),
    (r"final/legrad", _fixed(shown(of("legrad")))),
    (r"map/gradcam_block0_norm1", _fixed(of("grad_cam", layer=0, cut=True))),
    (
        r"map/legrad(_cosine)?(?:_last(\d+))?",
        lambda config, cosine, last: of(
            "legrad", cosine=bool(cosine), layers=int(last) if last else None
        ),
    ),
    (
        r"(map|signed)/gradeclip(|_noksim|_notebook|_notebook_noksim)",
        lambda config, kind, how: of("grad_eclip", cut=kind == "map", **_ECLIP[how]),
    ),
    (
        r"gradeclip(_notebook)?/logits_singlehead",
        lambda config, notebook: single_head(strict=bool(notebook)),
    ),
    (r"extra/gradeclip_multihead", _fixed(of("grad_eclip"))),
    (
        r"map/dix(?:_seg(\d+))?(|_layer1|_layer2)",
        lambda config, steps, which: of(
            "dix", steps=int(steps or 10), layers=_DIX[which], strict=True
        ),
    ),
    (r"extra/dix_layer2_ownattn", _fixed(of("dix", layers=(2,)))),
    (r"map/tam/start(\d+)_steps(\d+)", tam),
    (
        r"map/tam_nointegral/start(\d+)",
        lambda config, start: of("tam", integral=False, start_layer=int(start)),
    ),
    (
        r"map/tam_firststate/steps(\d+)",
        lambda config, steps: of("tam", first_state=True, steps=int(steps)),
    ),
    (
        r"map/bi_(head|token)/start(\d+)_steps(\d+)",
        lambda config, kind, start, steps: of(
            f"bi_{kind}", start_layer=int(start) - 1, steps=int(steps)
        ),
    ),
    (
        r"map/bi_(head|token)_perception_only/start(\d+)",
        lambda config, kind, start: of(f"bi_{kind}", start_layer=int(start) - 1, feedback=False),
    ),
    (
        r"aux/ig_last_attn_grad_steps(\d+)",
        lambda config, steps: last_gradient(int(steps)),
    ),
    (r"aux/bi_head_weights", _fixed(bi_head_weights)),
    (r"aux/bi_token_norm_ratio", _fixed(bi_token_ratios)),
    (r"map/tattr/start(\d+)", lambda config, start: of("t_attr", start_layer=int(start))),
    (
        r"map/tattr_tamrepo_rownorm/start(\d+)",
        lambda config, start: of("t_attr", row_normalize=True, start_layer=int(start)),
    ),
    (
        r"map/tattr_tamrepo_minmax/start(\d+)",
        lambda config, start: of("t_attr", strict=True, start_layer=int(start)),
    ),
    (
        r"map/lrp_ours_rollout/start(\d+)",
        lambda config, start: of("lrp", method="rollout", rules="ours", start_layer=int(start)),
    ),
    (
        r"map/lrp_(ours|orig)_(last_layer|second_layer)(_gradweighted)?",
        lambda config, rules, method, weighted: of(
            "lrp", method=method, rules=rules, gradient_weighted=bool(weighted)
        ),
    ),
    (r"aux/lrp_(ours|orig)_attn_cam", lambda config, rules: attention_relevance(rules)),
    (
        r"pixmap/lrp_(ours|orig)_full",
        lambda config, rules: relevant(
            lambda c: relevance.chefer(c.activation, rules), times_input=False
        ),
    ),
    (r"map/(attnlrp|cplrp|cplrp_mha_eps)", lambda config, name: of(_LRP[name])),
    (r"map/cplrp_gamma", _fixed(of("cp_lrp", gamma_conv=0.25, gamma_linear=0.05))),
    (r"map/cplrp_gamma0", _fixed(of("cp_lrp", gamma_conv=0.25, gamma_linear=0.0))),
    (
        r"pixel/attnlrp",
        _fixed(relevant(lambda c: relevance.attn_lrp(c.activation), times_input=True)),
    ),
    (r"pixel/(?:cplrp|cplrp_mha_eps)", _fixed(gammas(None, None))),
    (r"pixel/cplrp_gamma", _fixed(gammas(0.25, 0.05))),
    (r"pixel/cplrp_gamma0", _fixed(gammas(0.25, 0.0))),
    (r"map/saliency", _fixed(of("saliency"))),
    (r"map/inputxgradient", _fixed(of("input_x_gradient"))),
    (r"map/smoothgrad", _fixed(of("smooth_grad", drawn="smoothgrad"))),
    (r"map/(rise.*)", lambda config, drawn: rise(drawn, patches=True)),
    (r"pixel/(rise.*)", lambda config, drawn: rise(drawn, patches=False)),
    (
        r"map/(vitcx.*)",
        lambda config, drawn: of("vit_cx", drawn=drawn, chunk_size=CHUNK),
    ),
    (r"pixel/(vitcx.*)", lambda config, drawn: vit_cx_of_pixels(drawn)),
    (r"map/tis", _fixed(of("tis", drawn="tis", chunk_size=CHUNK))),
    (r"tis/scores", _fixed(tis_scores)),
    (r"map/ig", _fixed(of("integrated_gradients"))),
    (
        r"map/ig_trapezoid(\d+)",
        lambda config, steps: of("integrated_gradients", steps=int(steps), quadrature="trapezoid"),
    ),
    (
        r"pixel/(inputxgradient|saliency|smoothgrad)",
        lambda config, name: pixels(PIXELS[name], channels=True),
    ),
    (r"ig/convergence_delta", _fixed(convergence_delta)),
    (r"pixel/ig", _fixed(integrated(50, "gauss_legendre"))),
    (r"pixel/ig_trapezoid(\d+)", lambda config, steps: integrated(int(steps), "trapezoid")),
)
TOLERANCES = {
    "xgradcam": Tolerance(narrow=2e-3),
    "cplrp_gamma0": Tolerance(narrow=5e-4),
    # A difference of nearly equal numbers.
    "convergence_delta": Tolerance(narrow=1e-2),
}

# What the files hold and no method here makes: I-GOS and iGOS++, masks found by optimisation, which
# no comparison of Vision Transformers asks for and which cost 1200 passes forwards and back.
NOT_YET = (
    r"igos/.*",
    r"map/(igos_nag|igospp_nag|igospp_ls)",
)
# What does not depend on the target, and has no axis for it.
ONE_PER_IMAGE = (r"gradeclip(_notebook)?/logits_singlehead",)
# What belongs to the model, or is given to the methods.
GIVEN = (
    r"(vit|classifier|weights)[./].*",
    r"pixel_values|targets|seedlow_targets|smoothgrad/noise",
    r"probs|hidden_states|neuron/.*",  # the network's own, in the tests of the model
    r"rise.*/(grids|shifts|p1)",
    r"vitcx.*/noise_unit/\d+",
)
# What comes before the maps, in `test_masking.py`.
ELSEWHERE = (
    r"rise.*/(masks|cell)",
    r"vitcx.*/(labels|masks|cosine_distance)/\d+",
    r"tis/(raw_masks|mask_indices|binary_masks|ablation_baselines|ablation_map_target0)",
)


def makers(name: str) -> list[tuple[Callable[..., Function], tuple[Any, ...]]]:
    """All entries of the table whose pattern is this key: there should be one at most."""
    found = []
    for pattern, maker in TABLE:
        if match := re.fullmatch(pattern, name):
            found.append((maker, match.groups()))
    return found


def listed(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns is this key."""
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def tolerance(name: str) -> Tolerance:
    """How far a map may be from the vector of this key."""
    return TOLERANCES.get(name.partition("/")[2], Tolerance())


def function(name: str, config: ViTConfig) -> Function:
    """What makes the map of this key."""
    ((maker, groups),) = makers(name)
    return partial(maker, config)(*groups)
