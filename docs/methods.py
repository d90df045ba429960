"""Write `docs/methods.md` from `METHODS`: `python docs/methods.py`; a test holds them equal."""

from __future__ import annotations

from pathlib import Path

from jaxattr.methods import METHODS

HEAD = """# Methods

Written by `python docs/methods.py` from `METHODS`; edit the methods instead.

Every method is one pure function in a file of its own, `method(model, image, loss, *, options)`,
from one normalised image to a raw map `[row, column]`: signed where the mathematics has a sign,
never scaled for display. Batches are `vmap` or `jaxattr.over_images`; several losses of one image
are a `vmap` over the loss and share one forward pass. F is a forward pass, B a backward pass, b one
of a single block, S the solution of a problem of network flow for each token.

| method | signed | depends on the target | derivative with respect to | cost | source |
|---|---|---|---|---|---|
"""

TAIL = """
A backward pass counts as two forward passes. Options are keyword arguments with the field's names;
`help(jaxattr.METHODS[name].function)` says which of them published numbers rest on.

## Equal to what

Every method but the paper's three, which published no code, was compared with its authors' own
code, or with a package that people trust in its place (captum, pytorch-grad-cam), on small random
models: to 1e-8 of the largest entry where the vectors are in float64, to 1e-4 where they are in
float32 (2e-3 for XGrad-CAM and 5e-4 for CP-LRP with gamma 0, which are badly conditioned).
`tests/golden_table.py` lists which options make which published variant. Finer-CAM has no vectors:
its loss was compared with the published formula. Maps are compared raw:
most publications then cut off the negative part, enlarge, and scale each map to 0..1, in that order
or another; that is left to `jaxattr.heatmap`.

Methods that draw at random were given the authors' own draws. Complete linkage and k-means agree
with SciPy's, ViT-CX's clusters with the authors' as well. Attention flow was compared with a
linear programme, too. On a trained ViT-Tiny every token's flow was at its bound, the smaller of 1
and the column sum of the first layer; the flows of 197 tokens through 12 layers took 12 s of
processor time an image on a CPU.

Start layers are counted from 0 and name the first block to include; Beyond Intuition counts from 1.
Mistakes of published code are reproduced only on request: `strict` in `rollout` (columns divided by
the sums of rows), `gradient_rollout` (layers paired in reverse order), `grad_eclip` (the residual
connection overwritten) and `dix` (the wrong layer's attention).

## Relevance

`lrp`, `t_attr`, `attn_lrp` and `cp_lrp` are backward passes under the rules of `jaxattr.relevance`,
of the same network that all others use. Their quotients come near zero, so they are computed in
float64 whatever the model's precision; in float32 single maps are off by up to 300 %.
`relevance.conservation` gives the share of relevance that is left at the input of each block.

## Which derivative

The gradient of attention is the **total** derivative: what changes in the loss when an entry of
`A_l` changes, through the queries and keys of all later layers too. It is what hooks in PyTorch
give, hence what the paper and its peers mean. `frozen_attention_gradients` gives the other one,
with the attention of all other layers held fixed. The two agree in the last layer only.

## Which loss

`losses.target_logit(c)` is the paper's Eq. 7. To ask for one class *against* another, use
`losses.difference(a, b)`. The paper also offers Eq. 8, `(l_a - l_b) / l_a`, and the ratio: both
invert (red and blue change places) when the two logits are negative and push both logits the same
way when their signs differ; `losses.is_guiding` tells, and `jaxattr explain` warns.

## Which row

The contribution of a patch is its entry in the class token's row of the rolled-out product (Eq. 3).
A distillation token's own column is dropped, and its row is not read. Models that pool the mean of
the patches have no such row: there the mean of the patches' rows is taken.
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{one.name}` | {'yes' if one.signed else 'no'} | "
        f"{'yes' if one.target_dependent else 'no'} | {one.differentiates} | {one.cost} | "
        f"{one.source} |\n"
        for one in METHODS.values()
    ]
    return HEAD + "".join(rows) + TAIL


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
