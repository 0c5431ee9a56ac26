"""Settings as text: parsed from the command line, written in plugin files and plugin names."""

import ast
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ValidationError

from kitbox.errors import KitboxError, did_you_mean
from kitbox.plugin import losses, samplers, schedules
from kitbox.value import Value, explain

# Name → class of everything but Plugin that a plugin file can import from kitbox.
VOCABULARY: dict[str, type[Value]] = {
    name: found
    for module in (losses, schedules, samplers)
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, Value) and found is not Value
    if not name.startswith("_")
}
LOSSES = {name for name, found in VOCABULARY.items() if hasattr(found, "needs_pairs")}
# What a class sets itself: its kind, and of a plugin the digests of code.
_NOT_WRITTEN = ("kind", "code")
_SIZE = re.compile(r"(\d+)x(\d+)")


def split_commas(text: str) -> list[str]:
    """Return the parts of a text between commas outside brackets."""
    return _split(text, ",")


def parse_value(text: str) -> Any:
    """Return the setting in a text: 0.1, 96x192, gem, Triplet, PK(coverage=random), None.

    A bare word that is not in the vocabulary stays text. Raises KitboxError for settings that a
    class of the vocabulary does not have.
    """
    if size := _SIZE.fullmatch(text):
        height, width = int(size[1]), int(size[2])
        return height if height == width else (height, width)
    try:
        return _value(ast.parse(text, mode="eval").body, text)
    except (SyntaxError, ValueError):  # such as 'package:NAME'
        return text


def parse_losses(text: str) -> tuple[Any, ...]:
    """Return the losses in a text: Triplet(mining=semi_hard), or several as A+B.

    Raises KitboxError for a part that is not a loss.
    """
    found = []
    for part in _split(text, "+"):
        loss = parse_value(part)
        if not isinstance(loss, Value) or type(loss).__name__ not in LOSSES:
            word = part.partition("(")[0]
            near = did_you_mean(word, LOSSES)
            raise KitboxError(
                f"'{part}' is not a loss" + (near or f"; there are {', '.join(sorted(LOSSES))}")
            )
        found.append(loss)
    return tuple(found)


def to_source(setting: Any) -> str:
    """Return the Python source of a setting; defaults are left out."""
    if isinstance(setting, BaseModel):
        inside = ", ".join(
            f"{name}={to_source(inner)}" for name, inner in changed_settings(setting)
        )
        return f"{type(setting).__name__}({inside})"
    if isinstance(setting, tuple):
        return f"({', '.join(map(to_source, setting))}{',' if len(setting) == 1 else ''})"
    return json.dumps(setting, ensure_ascii=False) if isinstance(setting, str) else repr(setting)


def name_part(setting: Any) -> str:
    """Return a setting as part of a plugin's name: letters, digits, points and _."""
    match setting:
        case Value():
            words = [type(setting).__name__.lower()]
            for name, inner in changed_settings(setting):
                # a number needs the name of its setting, a word does not
                words += [] if isinstance(inner, str | Value) else [name]
                words.append(name_part(inner))
            return "_".join(words)
        case tuple():
            return "_".join(map(name_part, setting)) or "none"
        case float():
            return f"{Decimal(repr(setting)).normalize():f}".replace("-", "minus_")
        case _:
            return re.sub(r"[^0-9A-Za-z.]+", "_", str(setting)).lower()


def changed_settings(setting: BaseModel) -> Iterator[tuple[str, Any]]:
    """Yield (name, setting) of a value where it differs from the default, in order."""
    for name, field in type(setting).model_fields.items():
        given = getattr(setting, name)
        if name not in _NOT_WRITTEN and (field.is_required() or given != field.get_default()):
            yield name, given


def vocabulary_names(setting: Any) -> set[str]:
    """Return the names of the vocabulary that the source of a setting uses."""
    if isinstance(setting, BaseModel):
        parts = [inner for _, inner in changed_settings(setting)]
        return {type(setting).__name__}.union(*map(vocabulary_names, parts))
    if isinstance(setting, tuple):
        return set().union(*map(vocabulary_names, setting))
    return set()


def _split(text: str, separator: str) -> list[str]:
    """Return the parts of a text between separators outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Name(id=name):
            return _build_value(name, {}) if name in VOCABULARY else name
        case ast.Call(func=ast.Name(id=name), args=[], keywords=given):
            return _build_value(
                name, {each.arg or "**": _value(each.value, text) for each in given}
            )
        case ast.Call(func=ast.Name(id=name)):
            raise KitboxError(f"'{text}': give the settings of {name} by name, as margin=0.3")
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple(_value(part, text) for part in parts)
        case _:
            try:
                return ast.literal_eval(node)
            except ValueError:
                return ast.get_source_segment(text, node) or text


def _build_value(name: str, settings: dict[str, Any]) -> Value:
    if name not in VOCABULARY:
        raise KitboxError(f"there is no {name}{did_you_mean(name, VOCABULARY)}")
    try:
        return VOCABULARY[name](**settings)
    except ValidationError as error:
        raise KitboxError(f"{name}: {explain(error)}") from error
