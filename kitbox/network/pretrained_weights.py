"""Pretrained backbone weights, loaded into a network only if every tensor fits."""

import contextlib
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kitbox.errors import KitboxError
from kitbox.weights import model_hub
from kitbox.weights.weight_file import KEYS, State, networks_in

if TYPE_CHECKING:  # torch takes seconds to import, and cached embeddings need none
    from torch import nn

    from kitbox.network.network import Network

Convert = Callable[[State], State]

# What wrappers put before the names of its tensors.
_WRAPPERS = ("module", "_orig_mod", "backbone", "encoder", "base_model", "body", "trunk", "visual")
# Usual names of classifiers, which a backbone does not have.
_CLASSIFIER = re.compile(r"^(classifier|_?fc|head|head_dist|head\.fc2?|last_linear|logits)\.")
# The number of batches that a batch norm has seen: without effect here, and not in every file.
_COUNT = "num_batches_tracked"
# Names of lukemelas' EfficientNet-PyTorch, without and with an expansion convolution.
_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


@dataclass(frozen=True)
class FittingWeights:
    """The tensors of a file that fit a network, and `notes`: sentences on what else it holds."""

    state: State
    notes: tuple[str, ...]


def load(backbone: "nn.Module", path: Path) -> FittingWeights:
    """Load a file of weights into a backbone; return what was loaded, and what was not used.

    The file must have every tensor of the backbone, at the top or below one name, as training
    programs have it: "model.backbone.". Names of other programs and position embeddings of another
    image size are converted as timm does. Raises KitboxError that counts and names the tensors
    that do not fit, for a file that holds two networks that fit, and for values that are no
    numbers.
    """
    return _fill(backbone, *_best_fit(backbone, networks_in(path), path))


def load_network(network: "Network", path: Path) -> FittingWeights:
    """Load a file of weights into a network's backbone as `load` does, or a MiewID whole.

    A file of MiewID has the power of its pooling and the batch norm of its neck as well. They are
    loaded where the network has the same, and then nothing but the classifier of its training may
    be left; else a sentence says what the network would need.
    """
    networks = networks_in(path)
    fit, notes = _best_fit(network.backbone, networks, path)
    notes += _other_pixels(network, path)
    if not any(re.fullmatch(r"(.*\.)?pooling\.p", name) for name in fit.left_over):
        return _fill(network.backbone, fit, notes)
    whole = _as_miewid(network)
    if whole is None:
        return _fill(network.backbone, fit, (*notes, _MIEWID))
    fit, notes = _best_fit(whole, networks, path)
    notes += _other_pixels(network, path)
    left_over = (*fit.classifier, *fit.left_over)
    others = tuple(name for name in left_over if not re.match(r"(.*\.)?final\.", name))
    if others:
        raise _no_fit(path, replace(fit, unused=others, left_over=()))
    return _fill(whole, fit, notes)


def _other_pixels(network: "Network", path: Path) -> tuple[str, ...]:
    """Return a sentence if the config.json beside a file has another mean or deviation, or none."""
    theirs = model_hub.recorded_mean_and_std(path)
    ours = list(network.data_config.mean), list(network.data_config.std)
    if theirs is None or np.allclose(theirs, ours, atol=1e-3):
        return ()
    return (
        f"pixels are normalised by mean {ours[0]} and deviation {ours[1]}, but "
        f"{path.parent / 'config.json'} has {theirs[0]} and {theirs[1]}, which "
        f'backbone="local-dir:{path.parent}" would use',
    )


_MIEWID = (
    "the file is of a MiewID, of which the pooling and the batch norm need pooling='gem_learned', "
    "neck='batchnorm' and embedding_dim=None"
)


def _as_miewid(network: "Network") -> "nn.Module | None":
    """Return a network under the names of MiewID, None if its pooling or neck is another."""
    from torch import nn

    projection, norm = network.neck
    power = network.pooling.powers
    if power is None or len(power) > 1:
        return None
    if not isinstance(projection, nn.Identity) or not isinstance(norm, nn.BatchNorm1d):
        return None
    pooling = nn.Module()
    pooling.register_parameter("p", power)
    return nn.ModuleDict({"backbone": network.backbone, "pooling": pooling, "bn": norm})


def _fill(module: "nn.Module", fit: "_Fit", notes: tuple[str, ...]) -> FittingWeights:
    """Give a module the tensors of a file; what is not in the file stays as it was."""
    module.load_state_dict(module.state_dict() | fit.state)
    return FittingWeights(fit.state, notes)


def _best_fit(
    module: "nn.Module", networks: Sequence[tuple[str, State]], path: Path
) -> "tuple[_Fit, tuple[str, ...]]":
    """Return the tensors that fill a module, and sentences on what else the file holds."""
    import torch

    expected, convert = module.state_dict(), _timm_conversion(module)
    fits = [fit for key, state in networks for fit in _fits(key, state, expected, convert)]
    most = max(fit.count for fit in fits)
    best, *others = sorted(
        (fit for fit in fits if fit.count == most), key=lambda fit: not fit.usual
    )
    if not best.whole:
        raise _no_fit(path, best)
    others = [
        o
        for o in others
        if any(not torch.equal(o.state[n], t) for n, t in best.state.items() if n in o.state)
    ]
    for other in others:
        if not best.usual or (other.usual and other.key == best.key):
            raise KitboxError(
                f"the weights {path} hold the network twice, as {best.place} and {other.place}",
                fix="save the one that you mean in a file of its own",
            )
    for name, tensor in best.state.items():
        if expected[name].is_floating_point() and not tensor.is_floating_point():
            raise KitboxError(
                f"the weights {path} are quantised: {name} holds whole numbers",
                fix="give the weights from before the quantisation",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise KitboxError(
                f"the weights {path} have values that are not numbers (NaN or infinite) in {name}",
                fix="take an earlier checkpoint of that training",
            )
    return best, tuple(_notes(best, others))


def _no_fit(path: Path, fit: "_Fit") -> KitboxError:
    """Return the error about a file of another network; it counts the tensors of the file alone."""
    problems = [
        f"{len(names)} {problem}, such as {names[0]}"
        for names, problem in (
            (fit.missing, "missing"),
            (fit.unequal, "of another shape"),
            (fit.unused + fit.left_over, "not used"),
        )
        if names
    ]
    return KitboxError(
        f"the weights {path} fit {fit.count} of {fit.of} tensors of the network: "
        + "; ".join(problems),
        fix=_OF_TRANSFORMERS if any(_TRANSFORMERS.search(n) for n in fit.left_over) else "",
    )


# Names that transformers gives to the tensors of a ViT or a Swin.
_TRANSFORMERS = re.compile(
    r"embeddings\.patch_embeddings\.|(^|\.)encoder\.layers?\.\d+\.(attention|blocks)"
)
_OF_TRANSFORMERS = "that is the layout of transformers; take timm's own file of that network"


def _notes(fit: "_Fit", others: "Sequence[_Fit]") -> Iterator[str]:
    """Yield sentences on what a file holds beside the tensors that are used."""
    parts = [f"the network is in it also as {other.place}" for other in others]
    if parts:
        parts[-1] += f" (taken is {fit.place})" if fit.place else " (taken is the first)"
    if fit.left_over:  # not of the classifier, which no network here takes
        many = "s" if len(fit.left_over) > 1 else ""
        parts.append(
            f"{len(fit.left_over)} tensor{many} beside the backbone's: {_shown(fit.left_over)}"
        )
    if parts:
        yield f"not used of the file of weights: {'; '.join(parts)}"
    if fit.converted:
        yield f"of the file of weights, converted as timm does: {_shown(fit.converted)}"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """The tensors of a file that fit a network, under its names, and what does not fit.

    `key` is where the file has its tensors, `place` what precedes their names as well, and `of`
    the number of tensors that it should have.
    """

    key: str
    place: str
    state: State
    of: int
    missing: tuple[str, ...]
    unequal: tuple[str, ...]
    unused: tuple[str, ...]  # in layers of the network: the file is of another
    classifier: tuple[str, ...]
    left_over: tuple[str, ...]
    converted: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of tensors of the file that fit."""
        return sum(not name.endswith(_COUNT) for name in self.state)

    @property
    def whole(self) -> bool:
        """Whether the file has every tensor, and none in a layer that the network lacks."""
        return not (self.missing or self.unequal or self.unused)

    @property
    def usual(self) -> bool:
        """Whether it is where programs keep the network that was trained."""
        return set(self.place.split(".")) <= {*KEYS, *_WRAPPERS, ""}


def _fits(key: str, state: State, expected: State, convert: Convert | None) -> Iterator[_Fit]:
    """Yield how tensors fit a network below each name under which most of them do.

    `convert` changes the names and position embeddings of other programs; it counts where the
    network is whole by it, or comes closer.
    """
    blocks = next(filter(None, (re.match(r"(.*?)_blocks\.", name) for name in state)), None)
    if blocks:
        bare = {name.removeprefix(blocks[1]): tensor for name, tensor in state.items()}
        state = _from_efficientnet_pytorch(bare, expected)
    # a classic network's own 'model.' is not in its files
    own = "model." if all(name.startswith("model.") for name in expected) else ""
    names = {name.removeprefix(own): name for name in expected}
    for prefix in _prefixes(state, names):
        fit = _fit(key, prefix, state, names, expected)
        # where no names are alike, what precedes all of them may still be a wrapper's
        befores = (prefix,) if fit.whole else (prefix, _wrapper_of(state), "")
        for before in dict.fromkeys(befores if convert else ()):
            fit = _converted(fit, _fit(key, before, state, names, expected, convert))
        yield fit


def _fit(
    key: str,
    prefix: str,
    state: State,
    names: Mapping[str, str],
    expected: State,
    convert: Convert | None = None,
) -> _Fit:
    """Return how the tensors below a prefix fit a network, whose names are given by the file's."""
    layers = {name.partition(".")[0] for name in names}
    theirs = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    within = convert(theirs) if convert else theirs
    renamed = {names[name]: tensor for name, tensor in within.items() if name in names}
    surplus = [name for name in within if name not in names]
    classifier = [name for name in surplus if _CLASSIFIER.match(name)]
    others = [name for name in surplus if name not in classifier]
    outside = [name for name in state if not name.startswith(prefix)]
    fitting = {n: t for n, t in renamed.items() if t.shape == expected[n].shape}
    changed = [n for n in within if convert and n in names and within[n] is not theirs.get(n)]
    return _Fit(
        key=key,
        place=".".join(filter(None, (key, prefix.rstrip(".")))),
        state=fitting,
        of=sum(not name.endswith(_COUNT) for name in expected),
        missing=tuple(n for n in expected if n not in renamed and not n.endswith(_COUNT)),
        unequal=tuple(n for n in renamed if n not in fitting and not n.endswith(_COUNT)),
        unused=tuple(prefix + n for n in others if n.partition(".")[0] in layers),
        classifier=tuple(prefix + n for n in classifier),
        left_over=(
            *outside,
            *(prefix + n for n in others if n.partition(".")[0] not in layers),
        ),
        converted=tuple(changed),
    )


def _converted(fit: _Fit, other: _Fit) -> _Fit:
    """Return a fit after its conversion where that makes it whole or closer, else as it is."""
    if fit.whole:
        # the same tensors, but some of them for the image size: the file's surplus is what it was
        better = other.whole and other.converted
        return replace(fit, state=other.state, converted=other.converted) if better else fit
    return other if other.whole or other.count > fit.count else fit


def _timm_conversion(module: "nn.Module") -> Convert | None:
    """Return how timm changes the files of other programs and sizes for a network, None if not."""
    import timm

    architecture = (getattr(module, "pretrained_cfg", None) or {}).get("architecture")
    if not architecture or not timm.is_model(architecture):
        return None
    source = sys.modules[timm.models.model_entrypoint(architecture).__module__]
    own = getattr(source, "checkpoint_filter_fn", None) or getattr(source, "_filter_fn", None)
    if own is None:
        return None
    patches = module.state_dict().get("patch_embed.proj.weight")

    def convert(state: State) -> State:
        theirs = state.get("patch_embed.proj.weight", patches)
        if patches is not None and theirs is not None and theirs.ndim == patches.ndim:
            sizes = theirs.shape[2:], patches.shape[2:]
            if sizes[0] != sizes[1]:
                return state  # of patches of another size: it is another network
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it looks for
                changed: State = own(dict(state), module)
        except Exception:  # it expects a file of the same network
            return state
        return changed

    return convert


def _wrapper_of(names: Iterable[str]) -> str:
    """Return the names of wrappers that precede every name."""
    prefix, rest = "", list(names)
    while rest:
        first = rest[0].partition(".")[0]
        if first not in {*_WRAPPERS, *KEYS} or not all(n.startswith(f"{first}.") for n in rest):
            break
        prefix, rest = f"{prefix}{first}.", [n.removeprefix(f"{first}.") for n in rest]
    return prefix


def _prefixes(names: Iterable[str], wanted: Container[str]) -> list[str]:
    """Return what precedes the wanted names, where most of them are; several only if equal."""
    counts = Counter([""])
    for name in names:
        parts = name.split(".")
        for at in range(len(parts)):
            if ".".join(parts[at:]) in wanted:
                counts[".".join(parts[:at]) + "." * bool(at)] += 1
    counts[""] -= 1
    most = max(counts.values())
    return sorted((prefix for prefix in counts if counts[prefix] == most), key=len)


def _from_efficientnet_pytorch(loaded: State, expected: State) -> State:
    """Rename tensors of lukemelas' EfficientNet-PyTorch to timm's (stage, block, layer)."""
    blocks = sorted(
        {
            (int(m[1]), int(m[2]))
            for name in expected
            if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", name))
        }
    )
    expanded = {name.split(".")[1] for name in loaded if "._expand_conv." in name}
    renamed: State = {}
    for name, tensor in loaded.items():
        parts = name.split(".")
        if parts[0] == "_blocks" and int(parts[1]) < len(blocks):
            stage, block = blocks[int(parts[1])]
            layers = (_EXPANDED if parts[1] in expanded else _SEPARABLE) | _SQUEEZE
            layer = layers.get(parts[2], parts[2])
            parts = ["blocks", str(stage), str(block), layer, *parts[3:]]
        else:
            parts[0] = _STEM.get(parts[0], parts[0])
        renamed[".".join(parts)] = tensor
    return renamed
