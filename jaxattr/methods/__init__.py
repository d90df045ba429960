"""The attribution methods: one file each, one row each in `METHODS`, one contract for all.

`METHODS[name].function(model, image, loss) -> [row, column]`: one image in, a raw map out, signed
where the mathematics has a sign, never scaled for display.
"""

from __future__ import annotations

from jaxattr.methods import views as views
from jaxattr.methods.absolute import absolute as absolute
from jaxattr.methods.attention_flow import attention_flow as attention_flow
from jaxattr.methods.attn_lrp import attn_lrp as attn_lrp
from jaxattr.methods.bi_cam import bi_cam as bi_cam
from jaxattr.methods.bi_head import bi_head as bi_head
from jaxattr.methods.bi_token import bi_token as bi_token
from jaxattr.methods.ca_lig import ca_lig as ca_lig
from jaxattr.methods.caap import caap as caap
from jaxattr.methods.complete import complete as complete
from jaxattr.methods.conservative import conservative as conservative
from jaxattr.methods.cp_lrp import cp_lrp as cp_lrp
from jaxattr.methods.dix import dix as dix
from jaxattr.methods.finer_cam import finer_cam as finer_cam
from jaxattr.methods.fullgrad_plus import fullgrad_plus as fullgrad_plus
from jaxattr.methods.grad_cam import grad_cam as grad_cam
from jaxattr.methods.grad_eclip import grad_eclip as grad_eclip
from jaxattr.methods.gradient_rollout import gradient_rollout as gradient_rollout
from jaxattr.methods.hires_cam import hires_cam as hires_cam
from jaxattr.methods.input_x_gradient import input_x_gradient as input_x_gradient
from jaxattr.methods.integrated_gradients import integrated_gradients as integrated_gradients
from jaxattr.methods.layer_cam import layer_cam as layer_cam
from jaxattr.methods.legrad import legrad as legrad
from jaxattr.methods.lrp import lrp as lrp
from jaxattr.methods.method import Method
from jaxattr.methods.positive import positive as positive
from jaxattr.methods.raw_attention import raw_attention as raw_attention
from jaxattr.methods.res_lrp import res_lrp as res_lrp
from jaxattr.methods.rise import rise as rise
from jaxattr.methods.rollout import rollout as rollout
from jaxattr.methods.saliency import saliency as saliency
from jaxattr.methods.smooth_grad import smooth_grad as smooth_grad
from jaxattr.methods.t_attr import t_attr as t_attr
from jaxattr.methods.tam import tam as tam
from jaxattr.methods.tis import tis as tis
from jaxattr.methods.token_relevance import token_relevance as token_relevance
from jaxattr.methods.vit_cx import vit_cx as vit_cx
from jaxattr.methods.xgrad_cam import xgrad_cam as xgrad_cam

_PAPER = "Cui, Fan, Chen 2026"

# name, function, signed, target-dependent, differentiates, cost, source
_ROWS = (
    (
        "conservative",
        conservative,
        True,
        True,
        "attention",
        "1F + 1B",
        "ours, after Cui et al.",
    ),
    ("token_relevance", token_relevance, True, True, "hidden", "1F + 1B", "ours"),
    ("raw_attention", raw_attention, False, False, "nothing", "1F", "Vaswani et al. 2017"),
    ("rollout", rollout, False, False, "nothing", "1F", f"{_PAPER}, Eq. 1-3"),
    (
        "attention_flow",
        attention_flow,
        False,
        False,
        "nothing",
        "1F + 1S",
        "Abnar and Zuidema 2020",
    ),
    ("positive", positive, False, True, "attention", "1F + 1B", f"{_PAPER}, Eq. 4 (GAE)"),
    ("complete", complete, True, True, "attention", "1F + 1B", f"{_PAPER}, Eq. 5"),
    ("absolute", absolute, False, True, "attention", "1F + 1B", f"{_PAPER}, Eq. 6"),
    ("gradient_rollout", gradient_rollout, False, True, "attention", "1F + 1B", "Gildenblat 2020"),
    ("grad_cam", grad_cam, True, True, "tokens", "1F + 1B", "Selvaraju et al. 2017"),
    ("layer_cam", layer_cam, True, True, "tokens", "1F + 1B", "Jiang et al. 2021"),
    ("hires_cam", hires_cam, True, True, "tokens", "1F + 1B", "Draelos and Carin 2020"),
    ("xgrad_cam", xgrad_cam, True, True, "tokens", "1F + 1B", "Fu et al. 2020"),
    ("finer_cam", finer_cam, True, True, "tokens", "1F + 1B", "Zhang et al. 2025"),
    ("legrad", legrad, False, True, "attention", "1F + 1B", "Bousselham et al. 2024"),
    ("grad_eclip", grad_eclip, True, True, "context", "1F + 1b", "Zhao et al. 2024"),
    ("bi_cam", bi_cam, True, True, "context", "1F + 1B", "Su and Luo 2026"),
    ("tam", tam, False, True, "attention", "21F + 20b", "Yuan et al. 2021"),
    ("bi_head", bi_head, False, True, "attention", "21F + 1B + 20b", "Chen et al. 2023"),
    ("bi_token", bi_token, False, True, "attention", "21F + 20b", "Chen et al. 2023"),
    ("dix", dix, False, True, "attention", "23F + 22B", "Barkan et al. 2023"),
    ("t_attr", t_attr, False, True, "attention", "1F + 2B", "Chefer et al. 2021"),
    ("lrp", lrp, True, True, "pixels", "1F + 1B", "Chefer et al. 2021"),
    ("attn_lrp", attn_lrp, True, True, "pixels", "1F + 1B", "Achtibat et al. 2024"),
    ("res_lrp", res_lrp, True, True, "pixels", "1F + 1B", "Berend et al. 2026"),
    ("cp_lrp", cp_lrp, True, True, "pixels", "1F + 1B", "Ali et al. 2022"),
    ("fullgrad_plus", fullgrad_plus, True, True, "hidden", "1F + 1B", "Mehri et al. 2025"),
    ("saliency", saliency, False, True, "pixels", "1F + 1B", "Simonyan et al. 2013"),
    (
        "input_x_gradient",
        input_x_gradient,
        True,
        True,
        "pixels",
        "1F + 1B",
        "Shrikumar et al. 2016",
    ),
    (
        "integrated_gradients",
        integrated_gradients,
        True,
        True,
        "pixels",
        "50F + 50B",
        "Sundararajan et al. 2017",
    ),
    ("smooth_grad", smooth_grad, False, True, "pixels", "5F + 5B", "Smilkov et al. 2017"),
    (
        "ca_lig",
        ca_lig,
        True,
        True,
        "hidden, attention",
        "121F + 121B",
        "Mersha and Kalita 2026 (experimental)",
    ),
    ("caap", caap, True, True, "nothing", "133F", "Izadi et al. 2026"),
    ("rise", rise, False, True, "nothing", "6000F", "Petsiuk et al. 2018"),
    ("vit_cx", vit_cx, False, True, "nothing", "52F", "Xie et al. 2023"),
    ("tis", tis, False, True, "nothing", "1025F", "Englebert et al. 2023"),
)
_GRAD_CAM = "pytorch-grad-cam"
_CHEFER = "Transformer-Explainability"
_OWN = "nothing: own reading"
# With what maps were compared; a test holds this against the vectors that there are.
_EQUALS = {
    "raw_attention": _CHEFER,
    "rollout": f"attention_flow, {_CHEFER}, vit-explain (strict)",
    "attention_flow": "attention_flow; a linear programme",
    "positive": "Transformer-MM-Explainability; transformerinterp",
    "complete": "the paper's equations in float64",
    "absolute": "the paper's equations in float64",
    "conservative": "nothing: ours; by hand in float64",
    "token_relevance": "nothing: ours; by hand in float64",
    "gradient_rollout": "vit-explain (strict)",
    "grad_cam": f"{_GRAD_CAM}; {_CHEFER}",
    "layer_cam": _GRAD_CAM,
    "hires_cam": _GRAD_CAM,
    "xgrad_cam": _GRAD_CAM,
    "finer_cam": "nothing; its loss: the published formula",
    "legrad": "LeGrad",
    "grad_eclip": "Grad-Eclip (single head)",
    "bi_cam": _OWN,
    "tam": "Transition_Attention_Maps",
    "bi_head": "transformerinterp",
    "bi_token": "transformerinterp",
    "dix": "dix (strict)",
    "t_attr": f"{_CHEFER}; Transition_Attention_Maps",
    "lrp": _CHEFER,
    "attn_lrp": "LRP-eXplains-Transformers",
    "res_lrp": "nothing; its rules by hand in float64",
    "cp_lrp": "LRP-eXplains-Transformers; zennit",
    "fullgrad_plus": f"{_OWN}; by hand in float64",
    "saliency": "captum",
    "input_x_gradient": "captum",
    "integrated_gradients": "captum",
    "smooth_grad": "captum",
    "ca_lig": f"{_OWN}, experimental",
    "caap": _OWN,
    "rise": "RISE",
    "vit_cx": "CausalX-ViT",
    "tis": "Transformer_Input_Sampling",
}
METHODS: dict[str, Method] = {row[0]: Method(*row, _EQUALS[row[0]]) for row in _ROWS}
CHEAP = tuple(name for name, method in METHODS.items() if method.forwards <= 10)
"""What comparisons take where nothing is asked for; the others cost 7 to 600 times as much."""
