"""Variants of a plugin: combinations of changed settings, each with a name and a plugin file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any

from kitbox.errors import KitboxError, did_you_mean
from kitbox.files import write_text
from kitbox.plugin import discovery, notation
from kitbox.plugin.derivation import scale_epochs, with_settings
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.notation import name_part
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK, Hardness, Shuffled
from kitbox.workspace import Workspace

# The text that means the value of the base plugin.
BASE_VALUE = "base"
# Characters in a line of a plugin file.
_COLUMNS = 100
# Settings with a parser of their own.
_READERS: dict[str, Callable[[str], Any]] = {
    "losses": notation.parse_losses,
    "backbone": str,
    "weights": str,
}


@dataclass(frozen=True)
class Budget:
    """The epochs that each variant trains: `epochs`, those that fit into `minutes`, or its own."""

    epochs: int | None = None
    minutes: float | None = None

    @property
    def part(self) -> str | None:
        """The budget as a part of a plugin's name, or None for its own epochs."""
        if self.minutes is not None:
            return f"minutes_{name_part(float(self.minutes))}"
        return None if self.epochs is None else f"epochs_{self.epochs}"

    @property
    def sentence(self) -> str:
        """The budget as a sentence for a plugin's docstring."""
        if self.minutes is not None:
            minutes = name_part(float(self.minutes))
            return f"Budget: as many epochs as fit into {minutes} minutes, by a few timed steps"
        if self.epochs is None:
            return "Budget: its own epochs"
        return f"Budget: {self.epochs} epoch{'s' if self.epochs > 1 else ''}"


@dataclass(frozen=True)
class Variant:
    """A variant of the plugin `base`; `differs` are its changed settings, `notes` what follows."""

    name: str
    plugin: Plugin
    base: str
    differs: tuple[str, ...]
    notes: tuple[str, ...] = ()


def axis_values(base: Plugin, setting: str, text: str) -> list[Any]:
    """Return the values of a setting from a text with commas; "base" means the base's.

    Raises KitboxError for an unknown setting and for an invalid value.
    """
    if setting not in Plugin.model_fields:
        near = did_you_mean(setting, Plugin.model_fields)
        raise KitboxError(f"'{setting}' is not a setting of Plugin{near}")
    if setting == "views":
        raise KitboxError(
            "views change no training, so there is nothing to sweep",
            fix="compare them with 'kitbox compare NAME NAME@views=plain+flip'",
        )
    read = _READERS.get(setting, notation.parse_value)
    parts = notation.split_commas(text)
    if not all(parts):
        raise KitboxError(f"{setting} = '{text}' has an empty part between its commas")
    own = getattr(base, setting)
    values = [own if part == BASE_VALUE else read(part) for part in parts]
    # 64 and 64x64 are the same size
    return [own if setting == "image_size" and _is_size(base, value) else value for value in values]


def combine(
    base: NamedPlugin,
    axes: Mapping[str, Sequence[Any]],
    budget: Budget,
    seeds: int = 1,
    root: Path | None = None,
) -> list[Variant]:
    """Return a variant for every combination of values, each once, under the budget.

    A budget in minutes leaves the epochs unchanged. Code of a user that values name is looked for
    in the workspace's folder `root`. Raises KitboxError for a combination that is not a valid
    plugin.
    """
    found: dict[str, Variant] = {}
    for values in product(*axes.values()):
        changes = dict(zip(axes, values, strict=True))
        for number in range(seeds):
            seed = {"seed": base.plugin.seed + number} if seeds > 1 else {}
            variant = _derive(base, changes | seed, budget)
            if {*variant.plugin.references} != {*base.plugin.references}:
                variant = replace(variant, plugin=discovery.with_code(variant.plugin, root))
            found.setdefault(variant.plugin.fingerprint, variant)
    return list(found.values())


def find_existing(variant: Variant, budget: Budget, workspace: Workspace) -> NamedPlugin | None:
    """Return the plugin that already has the settings of a variant, or None.

    With a budget in minutes, it is the plugin of that name, whose epochs were determined before.
    """
    if budget.minutes is None:
        return discovery.find_equal(variant.plugin, workspace)
    for name in (variant.name, _other_name(variant)):
        path = workspace.plugins / f"{name}.py"
        if path.is_file():
            named = NamedPlugin(name, discovery.read_plugin_file(path), path, "workspace")
            if variant_with_epochs(variant, named.plugin.epochs).plugin == named.plugin:
                return named
    return None


def write_variant(variant: Variant, budget: Budget, workspace: Workspace) -> NamedPlugin:
    """Write the plugin file of a variant into the workspace, and return the plugin.

    If its name is taken, the name of the base is appended. Raises KitboxError if that name is taken
    as well.
    """
    taken = discovery.plugin_names(workspace)
    name = variant.name if variant.name not in taken else _other_name(variant)
    path = workspace.plugins / f"{name}.py"
    if name in taken:
        raise KitboxError(
            f"plugins {variant.name} and {name} exist and have other settings; rename or remove one"
        )
    write_text(path, plugin_source(variant, budget))
    return NamedPlugin(name, variant.plugin, path, "workspace")


def plugin_source(variant: Variant, budget: Budget) -> str:
    """Return the text of a variant's file: its base in the docstring, then all but the defaults."""
    settings = dict(notation.changed_settings(variant.plugin))
    names = {"Plugin"}.union(*map(notation.vocabulary_names, settings.values()))
    lines = [f'"""{_docstring(variant, budget)}"""', ""]
    lines += [f"from kitbox import {', '.join(sorted(names, key=_import_order))}", ""]
    lines += ["plugin = Plugin("]
    for name, setting in settings.items():
        line = f"    {name}={notation.to_source(setting)},"
        if isinstance(setting, tuple) and len(line) > _COLUMNS:
            lines += [
                f"    {name}=(",
                *(f"        {notation.to_source(each)}," for each in setting),
                "    ),",
            ]
        else:
            lines.append(line)
    return "\n".join([*lines, ")", ""])


def variant_with_epochs(variant: Variant, epochs: int) -> Variant:
    """Return a variant scaled to a number of epochs; raises KitboxError where they do not fit."""
    return replace(variant, plugin=scale_epochs(variant.plugin, epochs))


def fit_sampler(plugin: Plugin, changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the changes with the sampler that their losses need, and a note if it was changed."""
    losses = changes.get("losses", plugin.losses)
    sampler = changes.get("sampler", plugin.sampler)
    if "sampler" in changes or not losses:
        return dict(changes), []
    kinds = "+".join(loss.kind for loss in losses)
    sequenced = any(getattr(loss, "mining", None) == "sequence" for loss in losses)
    pairs = any(loss.needs_pairs for loss in losses)
    if sequenced == isinstance(sampler, Hardness) and (sampler.gives_pairs or not pairs):
        return dict(changes), []
    needed = Hardness() if sequenced else PK() if pairs else Shuffled()
    new, old = notation.to_source(needed), notation.to_source(sampler)
    note = f"{kinds} needs the sampler {new}, not {old}"
    return {**changes, "sampler": needed}, [note]


def _derive(base: NamedPlugin, requested: Mapping[str, Any], budget: Budget) -> Variant:
    """Return the variant of the base with the requested settings, under the budget."""
    changes, notes = fit_sampler(base.plugin, requested)
    backbone = changes.get("backbone", base.plugin.backbone)
    weights = base.plugin.weights
    if backbone != base.plugin.backbone and "weights" not in changes and "package:" in weights:
        changes["weights"] = "file"
        notes.append(
            f"{backbone} reads its weights from a file: {weights} holds those of another backbone"
        )
    try:
        plugin = with_settings(base.plugin, changes)
        differs = _differences(base.plugin, plugin, requested)
        if budget.epochs is not None:
            plugin = scale_epochs(plugin, budget.epochs)
    except KitboxError as error:
        texts = [_setting_text(name, setting) for name, setting in requested.items()]
        text = ", ".join(texts) or "this budget"
        raise KitboxError(f"{base.name} with {text}: {error}") from error
    texts = [_setting_text(name, setting) for name, setting in differs.items()]
    if plugin.epochs != base.plugin.epochs and "epochs" not in differs:
        texts.append(f"epochs {plugin.epochs}")
    name = _name(base, plugin, differs, budget)
    return Variant(name, plugin, base.name, tuple(texts), tuple(notes))


def _differences(base: Plugin, plugin: Plugin, requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requested settings that differ from the base; a seed always counts."""
    return {
        name: getattr(plugin, name)
        for name in requested
        if name == "seed" or getattr(plugin, name) != getattr(base, name)
    }


def _name(base: NamedPlugin, plugin: Plugin, differs: Mapping[str, Any], budget: Budget) -> str:
    """Return <backbone>_<pixels>, the rest of the base's name, and the other differences."""
    own = _stem(base.plugin)
    suffix = base.name.removeprefix(own).strip("_") if base.name.startswith(own) else base.name
    parts = [_stem(plugin), suffix]
    for name, setting in differs.items():
        if name in ("backbone", "image_size"):
            continue
        alone = name == "losses" or type(setting).__name__ in notation.VOCABULARY
        part = notation.name_part(setting)
        parts.append(part if alone else f"{name}_{part}")
    if budget.minutes is not None or plugin.epochs != base.plugin.epochs:
        parts.append("" if "epochs" in differs else budget.part or "")
    return "_".join(part for part in parts if part)


def _stem(plugin: Plugin) -> str:
    return f"{plugin.backbone.rpartition('/')[2]}_{plugin.pixels}".replace(":", "_")


def _other_name(variant: Variant) -> str:
    return f"{variant.name}_like_{variant.base}"


def _is_size(plugin: Plugin, size: Any) -> bool:
    return plugin.height_width in (size, (size, size))


def _setting_text(name: str, setting: Any) -> str:
    """Return a setting as text: 'image_size 96x192', 'Triplet(mining="semi_hard")'."""
    if name == "image_size" and isinstance(setting, tuple):
        return f"{name} {setting[0]}x{setting[1]}"
    if name == "losses":
        return "+".join(map(notation.to_source, setting)) or "no losses"
    return f"{name} {setting if isinstance(setting, str) else notation.to_source(setting)}"


def _docstring(variant: Variant, budget: Budget) -> str:
    """Return the docstring of a variant's file, wrapped."""
    first = f"A variant of {variant.base}."
    changed = "; ".join(variant.differs) or "nothing but the budget"
    rest = f"Changed: {changed}. {'. '.join([*variant.notes, budget.sentence])}."
    return f"{first}\n\n{fill(rest, _COLUMNS, break_long_words=False)}\n".replace('"""', "'''")


def _import_order(name: str) -> tuple[bool, str]:
    """Return a sort key that puts constants first, as import sorters do."""
    return not name.isupper(), name
