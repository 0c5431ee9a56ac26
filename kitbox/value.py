"""The base class of settings: frozen, checked, with mistakes explained in one sentence."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from kitbox.errors import did_you_mean, more


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
        return given


def explain(error: ValidationError) -> str:
    """Return the first mistake of a validation as one sentence, and how many more there are."""
    mistakes = error.errors()
    first = mistakes[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    # pydantic names the members of a union in the location; a user knows only the setting.
    where = ".".join(str(part) for part in first["loc"] if not _is_type_name(part))
    given = first["input"]
    if first["type"] == "missing":
        message = f"{where} is missing"
    elif where and first["type"] != "value_error":
        value = "" if isinstance(given, dict) else f" = {given!r}"
        message = f"{where}{value} {message}"
    places = {tuple(part for part in m["loc"] if not _is_type_name(part)) for m in mistakes}
    return message + more(len(places) - 1)


def _is_type_name(part: int | str) -> bool:
    return isinstance(part, str) and (
        part[:1].isupper()
        or "[" in part
        or part.startswith("constrained-")
        or part in ("int", "str", "float", "bool")
    )
