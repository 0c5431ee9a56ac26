"""Methods with settings that a text chooses, as "dba:k=3,alpha=1": one notation for all of them."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from kitbox.errors import KitboxError, did_you_mean
from kitbox.value import Value, explain


class Method(Value):
    """One of several methods that serve the same purpose; `str` of it is its text.

    `kind` is its name, `noun` what messages call all methods of the purpose, and `order` that of
    the settings in a text where it is not that of the fields. A setting that is None is not
    written.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    order: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.title = getattr(cls, "kind", cls.title)

    def __str__(self) -> str:
        return self.text_of(self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are not None by their written names, in the order of a text."""
        written = {name: value for name, value in self.model_dump().items() if value is not None}
        names = [name for name in self.order if name in written]
        return {name: written[name] for name in [*names, *written]}

    @classmethod
    def names(cls) -> list[str]:
        """Return the written names of the settings, in the order of a text."""
        written = [cls.written_as.get(name, name) for name in cls.model_fields]
        return [*dict.fromkeys([*(name for name in cls.order if name in written), *written])]

    def text_of(self, settings: Mapping[str, Any]) -> str:
        """Return the text with these settings, such as "dba:k=3,alpha=1.5"."""
        written = ",".join(f"{name}={self.text_of_value(v)}" for name, v in settings.items())
        return f"{self.kind}:{written}" if written else self.kind

    @staticmethod
    def text_of_value(value: Any) -> str:
        """Return a setting as it is written: a whole number without a point."""
        return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


AnyMethod = TypeVar("AnyMethod", bound=Method)


def parse_method(text: str, methods: Mapping[str, type[AnyMethod]]) -> AnyMethod:
    """Return the one of some methods, which are there by their kinds, that a text names.

    What the text leaves out has its default. Raises KitboxError, in one sentence that begins with
    the noun of the methods, for a kind or a setting that there is not, and for a value that a
    setting cannot have.
    """
    noun = next(iter(methods.values())).noun
    kind, colon, rest = (piece.strip() for piece in text.partition(":"))
    if kind not in methods:
        near = did_you_mean(kind, methods) or f"; there are {', '.join(methods)}"
        raise KitboxError(f"there is no {noun} '{kind}'{near}")
    method = methods[kind]
    given: dict[str, Any] = {}
    for part in rest.split(",") if colon else ():
        name, _, value = (piece.strip() for piece in part.partition("="))
        if mistake := _mistake(method, part.strip(), name, value, given):
            raise KitboxError(f"the {noun} '{text}': {mistake}")
        given[name] = _number(value)
    try:
        return method.model_validate(given)
    except ValidationError as error:
        mistake = explain(error)
        for name, written in method.written_as.items():
            mistake = mistake.replace(f"{name} = ", f"{written} = ")
        raise KitboxError(f"the {noun} '{text}': {mistake}") from None


def _mistake(
    method: type[Method], part: str, name: str, value: str, given: Mapping[str, Any]
) -> str:
    """Return what is wrong with a part of a text before its value is looked at, '' if nothing."""
    names = method.names()
    has = f"it has {', '.join(names)}"
    if not (name and value):
        return f"'{part}' is no setting with a value; write each as NAME=VALUE; {has}"
    if name not in names:
        near = did_you_mean(name, names) or f"; {has}"
        return f"{method.kind} has no setting '{name}'{near}"
    return f"{name} is given twice; leave one out" if name in given else ""


def _number(text: str) -> int | float | str:
    """Return a number where the text is one, so that messages show it as one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
