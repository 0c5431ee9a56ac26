"""Checked values: settings, and what files record; mistakes are explained in one sentence."""

import re
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Annotated, Any, ClassVar, TypeVar, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from kitbox.errors import KitboxError, did_you_mean, more

# The longest name of a file, in bytes, that file systems take.
_LONGEST_NAME = 255


class Value(BaseModel):
    """Settings that are checked when created, cannot change, and name a misspelt setting.

    Plugins are identified by the digest of their written settings, which two class variables keep
    stable: a setting in `later` is omitted at its default value, and a setting in `written_as` is
    written under another key, and read from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()
    written_as: ClassVar[Mapping[str, str]] = {}
    title: ClassVar[str] = ""  # used in error messages instead of the class name

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = {
            name
            for name in self.later
            if getattr(self, name) == type(self).model_fields[name].get_default()
        }
        return {
            self.written_as.get(name, name): value
            for name, value in write(self).items()
            if name not in left_out
        }

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_settings(cls, given: Any) -> Any:
        if isinstance(given, dict):
            names = {key: name for name, key in cls.written_as.items()}
            given = {names.get(name, name): value for name, value in given.items()}
            for name in given:
                if name not in cls.model_fields:
                    near = did_you_mean(str(name), cls.model_fields)
                    raise ValueError(
                        f"'{name}' is not a setting of {cls.title or cls.__name__}{near}"
                    )
            for name, value in given.items():
                if isinstance(value, str) and "\0" in value:
                    raise ValueError(f"{name} = {_shown(value)} has the character NUL; remove it")
                several = get_origin(cls.model_fields[name].annotation) is tuple
                if several and isinstance(value, Value):
                    kind = type(value).__name__
                    raise ValueError(f"{name} is a tuple; write {name}=({kind}(...),)")
        return given


class Recorded(BaseModel):
    """What a file of kitbox records, such as a line of the ledger, read back.

    Types are strict, since a program wrote them. Keys that are not fields are left alone: a later
    release may have more.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


def _no_path(name: str) -> str:
    """Return a name that is one part of a path on every system; raise ValueError for others."""
    odd = any(character in "/\\\x7f" or character < " " for character in name)
    drive = name[1:2] == ":"
    size = len(name.encode("utf-8", "surrogatepass"))
    if odd or drive or name.strip(". ") == "" or size > _LONGEST_NAME:
        raise ValueError(
            f"{_shown(name)} is no name: it has 1 to {_LONGEST_NAME} bytes, and neither slashes "
            "nor line ends"
        )
    return name


# The name of a plugin, a submission or embeddings, which is that of a file or a folder: whatever
# file it is from, it leads to no other folder.
FileName = Annotated[str, AfterValidator(_no_path)]

T = TypeVar("T")


def check(kind: type[T], given: Any, *, where: str = "", fix: str = "") -> T:
    """Return what a file recorded, as a record of a kind: a `Recorded`, a `Value` or a dataclass.

    `where` is the file, and its line. Raises KitboxError for another form.
    """
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        raise KitboxError(explain(error), where=where, fix=fix) from error
    except UnicodeEncodeError as error:  # half a character
        raise KitboxError("a text in it is damaged", where=where, fix=fix) from error


def explain(error: ValidationError) -> str:
    """Return the first mistake of a validation as one sentence, and how many more there are."""
    mistakes = error.errors()
    first = mistakes[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] != "value_error":  # pydantic begins with "Input", "String", "List" ...
        message = re.sub(r"^\w+ should ", "should ", message)
    if first["type"] in ("model_type", "dataclass_type"):
        message = "should be a table of keys and values"
    # pydantic names the members of a union in the location; a user knows only the setting.
    where = ".".join(str(part) for part in first["loc"] if not _is_type_name(part))
    given = first["input"]
    if first["type"] == "missing":
        message = f"{where} is missing"
    elif where and first["type"] != "value_error":
        value = "" if isinstance(given, dict) else f" = {_shown(given)}"
        message = _objection(where, first) or f"{where}{value} {message}"
    elif not where and first["type"] in ("model_type", "dataclass_type"):
        message = f"{_shown(given)} {message}"
    places = {tuple(part for part in m["loc"] if not _is_type_name(part)) for m in mistakes}
    return message + more(len(places) - 1)


# What settings are made of.
_PLAIN = (str, bytes, bool, int, float, NoneType, tuple, list, dict, set, date, time, Path, Value)
# Errors about something that is no value of the right class.
_NO_VALUE = (
    "union_tag_not_found",
    "union_tag_invalid",
    "model_attributes_type",
    "model_type",
    "dataclass_type",
)


def _objection(where: str, mistake: Any) -> str | None:
    """Return a sentence about code, a class or a word in the place of a value, else None."""
    given, expected = mistake["input"], mistake.get("ctx", {})
    if isinstance(given, type) and issubclass(given, Value):
        return f"{where} is the class {given.__name__}; write {given.__name__}() for its value"
    if not isinstance(given, _PLAIN):
        kind = "the class " if isinstance(given, type) else "an object of "
        named = given if isinstance(given, type) else type(given)
        described = kind + f"{named.__module__}.{named.__qualname__}".removeprefix("builtins.")
        if isinstance(given, FunctionType | BuiltinFunctionType):
            described = "a function"
        takes = (
            f"one of {expected['expected']}"
            if mistake["type"] == "literal_error"
            else "words, numbers and what can be imported from kitbox, such as ArcFace()"
        )
        return f"{where} is {described}, but a setting holds no code; it takes {takes}"
    if mistake["type"] == "union_tag_invalid":
        named = expected["tag"]
        return f"{where} = {named} is none of {expected['expected_tags'].replace(chr(39), '')}"
    if mistake["type"] == "tuple_type":
        return f"{where} = {_shown(given)} should be a tuple, written as (A, B) or (A,)"
    if mistake["type"] in _NO_VALUE and isinstance(given, str):
        example = f"{given}()" if given.isidentifier() else "PK()"
        return f"{where} = {given!r} is a word; it takes a value of kitbox, written as {example}"
    return None


def _shown(given: Any) -> str:
    """Return a value as Python shows it, in one line of at most 80 characters."""
    text = " ".join(repr(given).split())
    return text if len(text) <= 80 else f"{text[:79]}…"


def _is_type_name(part: int | str) -> bool:
    return isinstance(part, str) and (
        part[:1].isupper()
        or "[" in part
        or part.startswith("constrained-")
        or part in ("int", "str", "float", "bool")
    )
