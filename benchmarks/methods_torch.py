"""The torch side of `methods.py`: packages where they are installed, the rest by hand.

Started by it with the folder of what both sides are given; answers requests line by line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

IG_STEPS, AT_ONCE = 50, 16
Classes = list[int]


class Peer(NamedTuple):
    method: str
    """Ours."""
    peer: str
    run: Callable[[Tensor, Classes], Any]
    """Normalised pixels `[image, channel, row, column]` and a class for each."""
    fit: Callable[[np.ndarray], np.ndarray] = lambda maps: maps
    """What the package does to a map before it returns it."""


class Logits(nn.Module):
    """Transformers' network as packages want it: a tensor in, a tensor out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixel_values=pixels).logits


def load(folder: Path, *, attention: str = "eager", frozen: bool = True) -> Any:
    from transformers import ViTForImageClassification

    network = ViTForImageClassification.from_pretrained(folder, attn_implementation=attention)
    return network.eval().requires_grad_(not frozen)


def captum_peers(folder: Path, noise: Tensor) -> dict[str, Peer]:
    from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency

    network, name = Logits(load(folder)), f"captum {version('captum')}"

    def integrated(pixels: Tensor, classes: Classes) -> Tensor:
        tool = IntegratedGradients(network)
        # By default all steps of all images are one batch, which takes 20 GB for eight images.
        steps = {"n_steps": IG_STEPS, "internal_batch_size": IG_STEPS}
        return tool.attribute(pixels, target=classes, **steps)

    def smooth(pixels: Tensor, classes: Classes) -> Tensor:
        drawn = noise.repeat(len(pixels), 1, 1, 1)
        normal, torch.normal = torch.normal, lambda *_: drawn  # ours has the same noise
        try:
            tool = NoiseTunnel(Saliency(network))
            return tool.attribute(
                pixels, nt_type="smoothgrad", nt_samples=len(noise), stdevs=1.0, target=classes
            )
        finally:
            torch.normal = normal

    def simple(kind: Any, pixels: Tensor, classes: Classes) -> Tensor:
        return kind(network).attribute(pixels.requires_grad_(), target=classes)

    return {
        "captum Saliency": Peer("saliency", name, partial(simple, Saliency)),
        "captum InputXGradient": Peer("input_x_gradient", name, partial(simple, InputXGradient)),
        "captum IntegratedGradients": Peer("integrated_gradients", name, integrated),
        "captum NoiseTunnel": Peer("smooth_grad", name, smooth),
    }


def cam_peers(folder: Path, side: int) -> dict[str, Peer]:
    """pytorch-grad-cam on the first LayerNorm of the last block, as its README says for ViT."""
    _stand_in_for_torchvision()
    import pytorch_grad_cam as package
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def reshape(tokens: Tensor) -> Tensor:
        patches = tokens[:, 1:].reshape(len(tokens), side, side, -1)
        return patches.permute(0, 3, 1, 2)

    def run(kind: Any, network: nn.Module, pixels: Tensor, classes: Classes) -> np.ndarray:
        inner: Any = network.network
        layer: Any = inner.vit.layers[-1].layernorm_before
        with kind(network, [layer], reshape_transform=reshape) as cam:
            if kind is package.FinerCAM:  # compares with the classes next to the most probable
                return cam(pixels)
            return cam(pixels, targets=[ClassifierOutputTarget(one) for one in classes])

    def fit(maps: np.ndarray) -> np.ndarray:
        size = 16 * side, 16 * side
        return scale_cam_image(scale_cam_image(np.maximum(maps, 0), size))

    name = f"pytorch-grad-cam {version('grad-cam')}"
    whole, late = Logits(load(folder, frozen=False)), Logits(load(folder))
    late.network.vit.layers[-1].layernorm_before.requires_grad_()
    kinds = {
        "grad_cam": package.GradCAM,
        "layer_cam": package.LayerCAM,
        "hires_cam": package.HiResCAM,
        "xgrad_cam": package.XGradCAM,
        "finer_cam": package.FinerCAM,
    }
    return {
        **{
            f"grad-cam {kind.__name__}": Peer(ours, name, partial(run, kind, whole), fit)
            for ours, kind in kinds.items()
        },
        "grad-cam GradCAM, frozen below": Peer(
            "grad_cam", f"{name}, all frozen below", partial(run, package.GradCAM, late), fit
        ),
    }


def lxt_peers(folder: Path) -> dict[str, Peer]:
    """lxt's rules set into transformers' ViT, for which it ships no table of its own."""
    # Its models and zennit's patches import what other versions of other packages had.
    for absent in ("models", "zennit_patches"):
        module: Any = sys.modules.setdefault(f"lxt.efficient.{absent}", ModuleType(absent))
        module.get_default_map = module.monkey_patch_zennit = lambda *_: {}
    from lxt.efficient import patches
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.vit.modeling_vit import eager_attention_forward

    wraps = {
        "attn_lrp": patches.wrap_attention_forward,
        "cp_lrp": patches.cp_wrap_attention_forward,
    }
    result = {}
    for method, wrap in wraps.items():
        ALL_ATTENTION_FUNCTIONS.register(f"lxt_{method}", wrap(eager_attention_forward))
        network = load(folder)
        network.config._attn_implementation = f"lxt_{method}"
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.forward = MethodType(patches.layer_norm_forward, module)
            if type(module).__name__ == "ViTMLP":
                activation: Any = module.activation_fn
                activation.original_forward = activation.forward
                activation.forward = MethodType(patches.non_linear_forward, activation)

        def run(pixels: Tensor, classes: Classes, network: Any = network) -> Tensor:
            logits = network(pixel_values=pixels.requires_grad_()).logits
            (gradient,) = torch.autograd.grad(_chosen(logits, classes), pixels)
            return pixels * gradient

        result[f"lxt {method}"] = Peer(method, f"lxt {version('lxt')} (rules)", run)
    return result


def own_peers(folder: Path, masks: Tensor) -> dict[str, Peer]:
    """By hand, in the way of the authors' code: products of whole matrices, all layers kept."""
    network = load(folder)

    def gradients(pixels: Tensor, classes: Classes) -> list[tuple[Tensor, Tensor]]:
        output = network(pixel_values=pixels.requires_grad_(), output_attentions=True)
        found = torch.autograd.grad(_chosen(output.logits, classes), output.attentions)
        return [(a.detach(), g) for a, g in zip(output.attentions, found, strict=True)]

    def rolled(matrices: list[Tensor]) -> Tensor:
        product = torch.eye(matrices[0].shape[-1]).expand_as(matrices[0])
        for matrix in matrices:
            product = product + torch.bmm(matrix, product)
        return product[:, 0, 1:]

    def rollout(pixels: Tensor, classes: Classes) -> Tensor:
        with torch.no_grad():
            attentions = network(pixel_values=pixels, output_attentions=True).attentions
            return rolled([one.mean(1) for one in attentions])

    def positive(pixels: Tensor, classes: Classes) -> Tensor:
        return rolled([(g * a).clamp(min=0).mean(1) for a, g in gradients(pixels, classes)])

    def complete(pixels: Tensor, classes: Classes) -> Tensor:
        return rolled([(g * a).mean(1) for a, g in gradients(pixels, classes)])

    def legrad(pixels: Tensor, classes: Classes) -> Tensor:
        output = network(
            pixel_values=pixels.requires_grad_(), output_attentions=True, output_hidden_states=True
        )
        total: Any = 0
        for hidden, attention in zip(output.hidden_states[1:], output.attentions, strict=True):
            feature = network.vit.layernorm(hidden.mean(1))
            score = _chosen(network.classifier(feature), classes)
            (gradient,) = torch.autograd.grad(score, attention, retain_graph=True)
            total = total + gradient.clamp(min=0).mean((1, 2))
        return total[:, 1:]

    def rise(pixels: Tensor, classes: Classes) -> Tensor:
        found = []
        with torch.no_grad():
            for image, class_ in zip(pixels, classes, strict=True):
                scores = [
                    network(pixel_values=image * some[:, None]).logits.softmax(1)[:, class_]
                    for some in masks.split(AT_ONCE)
                ]
                found.append(torch.einsum("n,nhw->hw", torch.cat(scores), masks))
        return torch.stack(found)[:, None]

    runs = {"rollout": rollout, "positive": positive, "complete": complete, "legrad": legrad,
            "rise": rise}  # fmt: skip
    names = {"positive": "by hand (GAE)"}
    return {
        f"own {name}": Peer(name, names.get(name, "by hand"), run) for name, run in runs.items()
    }


def _chosen(logits: Tensor, classes: Classes) -> Tensor:
    """Images do not touch each other, so one sum has the gradients of all."""
    return logits[range(len(classes)), classes].sum()


def _stand_in_for_torchvision() -> None:
    """pytorch-grad-cam imports names of torchvision that these methods never call."""
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        for name in ("", ".ops", ".transforms", ".transforms.functional"):
            module: Any = ModuleType(f"torchvision{name}")
            module.resize = module.Compose = module.Normalize = module.ToTensor = None
            sys.modules[f"torchvision{name}"] = module


def correlation(ours: np.ndarray, theirs: Any, peer: Peer) -> float:
    """Of both maps, pixel by pixel or patch by patch, the lowest of all images."""
    theirs = theirs.detach().numpy() if isinstance(theirs, Tensor) else theirs
    mine = peer.fit(ours)
    if theirs.ndim == 4:  # pixels: summed over each patch, as ours
        images, _, height, width = theirs.shape
        rows, columns = ours.shape[1:]
        cut = images, -1, rows, height // rows, columns, width // columns
        theirs = theirs.reshape(cut).sum((1, 3, 5))
    pairs = zip(mine.reshape(len(ours), -1), theirs.reshape(len(ours), -1), strict=True)
    return float(min(np.corrcoef(*pair)[0, 1] for pair in pairs))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cases", nargs="*")
    arguments = parser.parse_args()
    out, sys.stdout = sys.stdout, sys.stderr
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    torch.set_num_threads(arguments.threads)
    given = np.load(arguments.folder / "given.npz")
    channels_first = (0, 3, 1, 2)
    images = torch.from_numpy(given["images"].transpose(channels_first).copy())
    noise = torch.from_numpy(given["noise"].transpose(channels_first).copy())
    classes = [int(one) for one in given["classes"]]
    rows = images.shape[-1] // 16
    peers, absent = {}, {}
    for package, build in {
        "captum": lambda: captum_peers(arguments.model, noise),
        "grad-cam": lambda: cam_peers(arguments.model, rows),
        "lxt": lambda: lxt_peers(arguments.model),
        "own": lambda: own_peers(arguments.model, torch.from_numpy(given["masks"])),
    }.items():
        try:
            peers |= build()
        except (ImportError, PackageNotFoundError) as error:
            absent[package] = str(error)
            print(f"{package}: {error}", file=sys.stderr)
    if arguments.cases is not None:
        peers = {name: peers[name] for name in arguments.cases}
    cases = {name: {"method": peer.method, "peer": peer.peer} for name, peer in peers.items()}
    versions = {name: version(name) for name in ("torch", "transformers")}
    hello = {"cases": cases, "absent": absent, "versions": versions}
    print(json.dumps(hello), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        peer, batch = peers[request["case"]], request["batch"]
        pixels = images[:batch].clone()
        began, cpu = time.perf_counter(), time.process_time()
        found = peer.run(pixels, classes[:batch])
        reply = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        if request["check"]:
            reply["correlation"] = correlation(np.load(arguments.folder / "ours.npy"), found, peer)
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
