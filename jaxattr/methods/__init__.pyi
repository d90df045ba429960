"""The names of the room, for type checkers; a test holds them equal to the files."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

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
from jaxattr.methods.method import Cost as Cost
from jaxattr.methods.method import Method as Method
from jaxattr.methods.method import MethodFunction as MethodFunction
from jaxattr.methods.method import method as method
from jaxattr.methods.method import method_of as method_of
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
from jaxattr.vit import Model

MethodLike: TypeAlias = str | Method | Callable[..., Any]

METHODS: dict[str, Method]
CHEAP: tuple[str, ...]

def resolve(given: MethodLike) -> Method: ...
def resolve_all(given: Iterable[MethodLike]) -> tuple[Method, ...]: ...
def checked(given: Iterable[MethodLike], model: Model) -> tuple[Method, ...]: ...
def own(given: Iterable[Method]) -> dict[str, str] | None: ...
def in_order(given: Iterable[Method]) -> tuple[Method, ...]: ...
