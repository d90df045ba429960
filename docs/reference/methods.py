"""Write `methods.md` beside this file from `METHODS`; a test holds them equal."""

from __future__ import annotations

from pathlib import Path

from jaxattr.methods import METHODS

HEAD = """# Methods

Written by `python docs/reference/methods.py` from `METHODS`; edit the methods instead.

![Maps of all methods on drawn scenes](../notebook/methods-gallery.png)

All methods with their defaults, for the log-odds of one class (the default of the commands), by the
embedded model; the last two rows show the same scene, explained for each of its two classes. Each
map has its own scale (`heatmap.span`): compare places, not strengths. Written by `python
docs/notebook/methods_gallery.py`.

Every method is one pure function in a file of its own, `method(model, image, loss, *, options)`,
from one normalised image to a raw map `[row, column]`: signed where the mathematics has a sign,
never scaled for display. Batches are `vmap` or `jaxattr.over_images`; several losses of one image
are a `vmap` over the loss and share one forward pass. F is a forward pass, B a backward pass, b one
of a single block, S the solution of one network-flow problem for each token.

| method | signed | depends on the target | derivative with respect to | cost | source | equals |
|---|---|---|---|---|---|---|
"""

TAIL = """
A backward pass counts as two forward passes. Options are keyword arguments with the field's names;
`help(jaxattr.METHODS[name].function)` says which ones published numbers depend on.

## Compared with whose code

The last column names the repository or package whose own code was run, on small random models, and
whose maps ours equal: to 1e-8 of the largest entry where the vectors are in float64, to 1e-4 where
they are in float32 (2e-3 for XGrad-CAM and 5e-4 for CP-LRP with gamma 0, which are badly
conditioned). A test compares the column with the vectors that exist, and `tests/golden_table.py`
lists which options make which published variant. The paper published no code; its three methods
were compared with its equations, written twice. Maps are compared raw:
most publications then cut off the negative part, enlarge, and scale each map to 0..1, in that order
or another; that is left to `jaxattr.plot.heatmap`.

Methods that draw at random were given the authors' own draws. Complete linkage and k-means agree
with SciPy's, ViT-CX's clusters with the authors' as well.

**Own readings.** `bi_cam`, `ca_lig` and `caap` are compared with nothing: their authors' code was
not found, and only abstracts and summaries of their papers could be read. Docstrings say which part
is whose. Never compare their numbers with published ones. `res_lrp` and `fullgrad_plus` follow
formulas that were read in full, and equal a second implementation in NumPy and float64; their
authors' code was not run. `ca_lig` is experimental: its integrals run along scaled tokens, whose
scale LayerNorm undoes, and on two drawn scenes its 10 steps found 20 to 112 % of what a block's
tokens change, 100 steps 34 to 133 %. `metrics.positive_to_negative` is the ratio of both signs that
BiCAM's authors propose (PNR).

**Not here.** I-GOS and iGOS++ optimise a mask, at 1200 passes forwards and back for one class.

No method needs a class token, a square grid, or more than one layer or head. What does not fit is a
one-line error: a start layer that is not there, more clusters than features, a share that leaves no
token.

## Attention flow

Compared with the authors' code and with a linear programme. No flow exceeds its bound, the smaller
of 1 and the column sum of the first layer, and on a trained ViT-Tiny each one reaches it. So before
a flow is computed, a lower bound of all cuts, by how many tokens of each level they separate, is
asked whether it leaves the bound possible (`flow.at_bound`). That settled all 197 flows of each of
36 photos in 0.15 s of processor time an image (median of 36; 0.16 s at most); pushing preflows,
which is left for the others, took 8.7 to 12.5 s an image on the same CPU, minutes later, while
others computed. Both agreed to 1e-5 in float32. All flows of 12 drawn scenes through the embedded
model were settled, too (0.03 s an image). On random networks with sharp attention many are below
their bounds, and little is saved; that is why S counts as 100 forward passes, not as 4.

Start layers are counted from 0 and name the first block to include; Beyond Intuition counts from 1.
Mistakes of published code are reproduced only on request: `strict` in `rollout` (columns divided by
the sums of rows), `gradient_rollout` (layers paired in reverse order), `grad_eclip` (the residual
connection overwritten) and `dix` (the wrong layer's attention).

## Relevance

`lrp`, `t_attr`, `attn_lrp`, `res_lrp` and `cp_lrp` are backward passes under the rules of
`jaxattr.gradients.relevance`, of the same network that all others use. Their quotients come near
zero, so they are computed in float64 whatever the model's precision; in float32 single maps are off
by up to 300 %.
`relevance.conservation` gives the share of relevance that is left at the input of each block,
`relevance.gain` how many times what it starts from a map sums to; `jaxattr explain` and `compare`
warn above 10.

A warning is usual for `lrp`, because the published rules (`rules="orig"`) multiply relevance.
Started from 1, its sum at the inputs of the six blocks of the embedded model was 4.6 in the last,
then 9.9, 27, 56, 139, and 386 in the first; 357 at the pixels, 6560 in the worst image (medians
over 50 drawn scenes; all figures here are from `python docs/notebook/methods_relevance.py`).

- **The linear rule doubles.** It has two quotients, for products of positive and of negative
  factors, and each hands on the whole relevance, in every linear layer of a branch, but not on the
  skip connection beside it. With the linear rule of `"ours"` and nothing else changed the medians
  are 1.0 in all blocks and 0.88 at the pixels, the worst image's 5.4.
- **The residual rule divides by `skip + branch`**, entry by entry, and this comes near zero. Large
  relevances of opposite signs are passed on, whose sum is kept only as long as both are treated
  alike, which the doubling does not do. Under noise of ±0.02 maps change by 6.4 times their norm
  (median over 25 scenes of the largest of 10 draws; the mean, 12.5 here and 52 over other draws in
  [metrics](../notebook/metrics.md), is made by few images); with the linear rule of `"ours"` by 1.8
  (mean 3.6); with a residual rule that shares by magnitude by 0.6 (1.2), though it multiplies still
  more.

`res_lrp` fixes the second at its root: of a skip connection and a branch of opposite signs the
larger takes `1 + gamma` times its share, so that no sum hands on more than `1 + 2 / gamma` times
what it got. `relevance.cancellation` tells by how much each sum of a network does, in the values
and in the relevance: of the embedded model's 12 sums `attn_lrp` multiplies the magnitude of
relevance by 1.10 to 1.89 each and by 14 together, `res_lrp` by 1.03 to 1.26 and 2.3 (medians).
Its formula is the published one and the tests compare it with relevance divided by hand in float64;
the authors' code could not be run. `fullgrad_plus` has no quotient but that of the activation, and
is computed in the model's precision: 7e-7 of the largest entry from float64 on 30 scenes.

All of it is in the authors' code, which `lrp` equals, so it stays. `lrp(rules="ours")` is conserved
in the blocks, keeps 0.88 at the pixels, and is not steady either: 3.2 (2.9). In
[metrics](../notebook/metrics.md) completeness compares these sums with the logit, although the
rules start from 1.

## Means over views

`jaxattr.views.averaged(function, views)` turns any method into one with the same contract, whose
map is the mean over views of the image, `views.chosen(config, n)`: the image, its mirror, then both
moved by half a patch along the diagonals and the sides, at most 18. On the command line it is
`--views` of `explain` and `compare`. It costs n times the method, and on an accelerator, where all
views are computed at once, n times its memory.

The part that a moved image lacks at one edge is filled with its own mirror image. A map counts as
constant over each of its patches, is mirrored and moved back by pixels, and what lies beyond the
image is dropped; a patch gets the mean over all views of what then lies on it, pixels that a view
does not show left out. So a shift by whole patches is undone exactly; one by half a patch mixes two
patches along a side, and four along a diagonal, in equal parts: maps become smoother by this alone.
Published variants use noise, rotations and scales (DAVE) or translations (ResLRP+); these views are
our own choice.

On 60 drawn scenes of each kind (seed 77, which served for choosing), with the log-odds as the loss
and the measures of [bench-explanations](../notebook/bench-explanations.md), in percent. Of two
objects: both signs right, positive evidence in the target, largest value there, share of the
background; of one object: sign right, positive evidence in it, best IoU; of twins: the part that
differs is hit.

| method, views | signs | + target | points | background | sign | + object | IoU | part |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
| `complete` | 62 | 68 | 84 | 14 | 47 | 80 | 36 | 75 |
| `complete`, 2 | 59 | 69 | 87 | 13 | 52 | 79 | 36 | 82 |
| `complete`, 10 | 59 | 63 | 85 | 20 | 53 | 70 | 34 | 82 |
| `attn_lrp` | 100 | 84 | 98 | 13 | 97 | 85 | 51 | 78 |
| `res_lrp` | 100 | 83 | 99 | 12 | 100 | 82 | 56 | 83 |
| `res_lrp`, 2 | 100 | 84 | 100 | 12 | 100 | 82 | 56 | 83 |
| `res_lrp`, 10 | 100 | 80 | 100 | 18 | 100 | 77 | 65 | 82 |
| `fullgrad_plus` | 100 | 86 | 99 | 12 | 100 | 83 | 54 | 88 |
| `fullgrad_plus`, 10 | 100 | 80 | 100 | 19 | 100 | 78 | 62 | 93 |
| `caap`, 30 scenes | 60 | 73 | 82 | 12 | 97 | 94 | 41 | 43 |

The mirror alone changes little. Ten views spread a map: more of the object is covered, and more of
what lies around it. They do not correct the signs of `complete`. Of these methods `caap` stays on
one object best, and is the worst at telling two objects, or twins, apart.

## Which derivative

The gradient of attention is the **total** derivative: what changes in the loss when an entry of
`A_l` changes, through the queries and keys of all later layers too. It is what hooks in PyTorch
give, hence what the paper and its peers mean. `frozen_attention_gradients` gives the other one,
with the attention of all other layers held fixed. The two agree in the last layer only.

## Which loss

`losses.target_logit(c)` is the paper's Eq. 7. To ask for one class *against* another, use
`losses.difference(a, b)`. The paper also offers Eq. 8, `(l_a - l_b) / l_a`, and the ratio: both
invert (red and blue change places) when the two logits are negative and push both logits the same
way when their signs differ; `losses.is_guiding` says so, and `jaxattr explain` warns.

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
        f"{one.source} | {one.equals} |\n"
        for one in METHODS.values()
    ]
    return HEAD + "".join(rows) + TAIL


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
