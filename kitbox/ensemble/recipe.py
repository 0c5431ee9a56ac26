"""Recipes: the members of an ensemble and how they answer together, as a file to read and edit."""

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from kitbox.competition.settings import Competition, ThresholdSettings
from kitbox.ensemble import members
from kitbox.ensemble.ensemble import Combine, EnsembleOptions, UnknownRule
from kitbox.ensemble.members import MemberSource, Whitening
from kitbox.errors import KitboxError, counted, first_line
from kitbox.files import parse_toml, write_text
from kitbox.plugin.views import parse_views
from kitbox.value import Value, check, explain
from kitbox.workspace import Workspace

SUFFIX = ".toml"
_Dimensions = Annotated[int, Field(ge=2)]
_HEADER = "A recipe of kitbox: the members of an ensemble, and how they answer together."


class RecipeMember(Value):
    """A plugin or imported embeddings, with weight, views and whitening.

    `whiten` False leaves its block as it is where the recipe whitens; None does as the recipe does.
    """

    title: ClassVar[str] = "[[members]]"

    name: str = Field(min_length=1)
    weight: float = Field(default=1.0, allow_inf_nan=True)
    views: tuple[str, ...] = ()
    whiten: int | Literal[False] | None = None

    @field_validator("weight")
    @classmethod
    def _above_0(cls, weight: float, info: ValidationInfo) -> float:
        if not 0 < weight < inf:
            name = info.data.get("name", "a member")
            raise ValueError(f"the weight of {name} is {weight:g}; give it a finite number above 0")
        return weight

    @field_validator("views", mode="before")
    @classmethod
    def _known_views(cls, views: Any) -> Any:
        if isinstance(views, str):
            raise ValueError(f'views = "{views}": give a list, as ["{views}"]')
        return tuple(view.name for view in parse_views(views))

    @field_validator("whiten", mode="before")
    @classmethod
    def _dimensions_or_none(cls, given: Any) -> Any:
        if given is None or given is False or (type(given) is int and given > 1):
            return given
        raise ValueError(f"whiten = {given!r} is neither 2 dimensions or more nor false")

    @model_validator(mode="after")
    def _views_once(self) -> Self:
        if self.views and "views=" in self.name.partition("@")[2]:
            raise ValueError(f"{self.name} has views in its name; leave the setting views out")
        return self


class Recipe(Value):
    """Everything that decides how an ensemble answers: what its commands take as options.

    `whiten` is for every member that has no setting of its own. The others are those of
    `EnsembleOptions`, `new_label` for its `unknown`; `threshold` and `checkpoint` are as in the
    options of commands, None for the threshold of kitbox.toml.
    """

    title: ClassVar[str] = "a recipe"

    whiten: _Dimensions | None = None
    combine: Combine = "embeddings"
    dims: _Dimensions | None = None
    new_label: UnknownRule = "threshold"
    threshold: str | None = None
    checkpoint: Literal["last", "best"] = "last"
    rerank: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    fusion: str | None = None
    balance: str | None = None
    members: tuple[RecipeMember, ...]

    @field_validator("members", mode="before")
    @classmethod
    def _tables(cls, given: Any) -> Any:
        if isinstance(given, list | tuple) and all(isinstance(m, dict | Value) for m in given):
            return given
        raise ValueError("members are tables; write [[members]] before the name of each")

    @field_validator("rerank", "match", mode="before")
    @classmethod
    def _lists(cls, given: Any, info: ValidationInfo) -> Any:
        if isinstance(given, str):
            raise ValueError(f'{info.field_name} = "{given}": give a list, as ["{given}"]')
        return given

    @field_validator("threshold", mode="before")
    @classmethod
    def _threshold_text(cls, given: Any) -> Any:
        if isinstance(given, int | float) and not isinstance(given, bool):
            given = str(given)
        if isinstance(given, str):
            try:
                ThresholdSettings().override(given, (-inf, inf))
            except KitboxError as error:
                raise ValueError(str(error)) from error
        return given

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.members:
            raise ValueError("a recipe needs a plugin; add [[members]] with its name")
        try:
            options = self.options()
        except KitboxError as error:
            raise ValueError(str(error)) from error
        # the same stage is the same text, with all its settings
        for name in ("rerank", "match", "fusion", "balance"):
            self.__dict__[name] = getattr(options, name)
        return self

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        *,
        weights: Sequence[float] | None = None,
        views: Sequence[str] = (),
        whiten: int | Sequence[int | None] | None = None,
        **settings: Any,
    ) -> Self:
        """Return the recipe of some names, with options as commands have them.

        `whiten` is one for all, or one for each name. A name that has views of its own keeps them.
        Raises KitboxError for options that do not fit the names, and for invalid ones.
        """
        count = len(names)
        given = [1.0] * count if weights is None else list(weights)
        if len(given) != count:
            raise KitboxError(f"--weights names {len(given)} weights for {count} plugins")
        own: list[int | Literal[False] | None] = [None] * count
        if whiten is not None and not isinstance(whiten, int):
            own = [dims or False for dims in whiten]
            whiten = None
            if len(own) != count:
                raise KitboxError(
                    f"--whiten names {len(own)} dimensions for {counted(count, 'plugin')}"
                )
        try:
            return cls(
                members=tuple(
                    RecipeMember(
                        name=name,
                        weight=weight,
                        views=() if "views=" in name.partition("@")[2] else tuple(views),
                        whiten=dims,
                    )
                    for name, weight, dims in zip(names, given, own, strict=True)
                ),
                whiten=whiten,
                **settings,
            )
        except ValidationError as error:
            raise KitboxError(explain(error)) from error

    @classmethod
    def find(
        cls,
        path: Path | None,
        names: Sequence[str],
        given: Sequence[str],
        workspace: Workspace,
        competition: Competition,
    ) -> tuple[Path, Self] | None:
        """Return the recipe in the file `path`, or that of kitbox.toml where no plugin is named.

        A path that is not relative to the current folder is relative to the workspace. None where
        plugins are named. `given` are options for settings that a recipe has.

        Raises KitboxError for names and options beside a recipe, and where there is neither.
        """
        default = competition.ensemble.recipe
        if path is None and names:
            return None
        if path is not None and names:
            raise KitboxError(f"{names[0]} is named beside --recipe {path}; leave one of them out")
        if path is None and default is None:
            raise KitboxError(
                "name a plugin, or a recipe with --recipe FILE",
                fix="'kitbox plugins' lists plugins",
            )
        if path is None:
            path = workspace.root / str(default)
        elif not path.exists():
            path = workspace.root / path
        if given:
            raise KitboxError(
                f"{given[0]} is beside the recipe {path.name}, which decides it",
                fix="change it there, or name plugins in place of the recipe",
            )
        return path, cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the recipe in a file; raises KitboxError for an invalid or misspelt setting."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise KitboxError(f"is no text: {error}", where=str(path)) from error
        except OSError as error:
            raise KitboxError(
                f"cannot read the recipe {path}: {error.strerror or error}",
                fix="'kitbox search NAME...' writes one",
            ) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str = "") -> Self:
        """Return the recipe that a text is; errors name the place `where`."""
        try:
            given = parse_toml(text)
        except ValueError as error:
            raise KitboxError(first_line(error), where=where) from error
        return check(cls, given, where=where)

    def write(self, path: str | Path, comment: str = "") -> None:
        """Write the recipe to a file, whole or not at all; `comment` goes into its head."""
        write_text(Path(path), self.text(comment))

    def text(self, comment: str = "") -> str:
        """Return the recipe as TOML: settings that are not the default, then each member."""
        head = [_HEADER, *("".join(filter(str.isprintable, row)) for row in comment.splitlines())]
        lines = [f"# {line}".rstrip() for line in head]
        for name, value in self._changed().items():
            lines.append(f"{name} = {_toml(value)}")
        for member in self.members:
            lines += ["", "[[members]]", f"name = {_toml(member.name)}"]
            lines.append(f"weight = {_toml(member.weight)}")
            lines += [f"views = {_toml(member.views)}"] if member.views else []
            lines += [f"whiten = {_toml(member.whiten)}"] if member.whiten is not None else []
        return "\n".join(lines) + "\n"

    def options(self, top_k: int | None = None) -> EnsembleOptions:
        """Return the options of the ensemble; `top_k` None: the competition's k."""
        return EnsembleOptions(
            whiten=self._shared_whitening,
            combine=self.combine,
            dims=self.dims,
            unknown=self.new_label,
            rerank=self.rerank,
            match=self.match,
            fusion=self.fusion,
            balance=self.balance,
            top_k=top_k,
        )

    def set_threshold(self, competition: Competition) -> Competition:
        """Return the competition with the threshold of the recipe, if it has one."""
        return competition if self.threshold is None else competition.with_threshold(self.threshold)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the members."""
        return tuple(member.name for member in self.members)

    @property
    def weights(self) -> list[float]:
        """The weight of each member."""
        return [member.weight for member in self.members]

    @property
    def whitening(self) -> Whitening:
        """The dimensions of each member, None where it is one setting for all of them."""
        return None if len({*self._dimensions}) == 1 else self._dimensions

    def sources(self, workspace: Workspace) -> list[MemberSource]:
        """Return the plugins or embeddings of the members; raises KitboxError for unknown names."""
        return [
            source
            for member in self.members
            for source in members.find([member.name], workspace, member.views)
        ]

    def settings_of_answers(self, *used: str) -> list[str]:
        """Return the settings that do not change embeddings, but for those that are `used`."""
        of_embeddings = {"whiten", "checkpoint", *used}
        return [name for name in self._changed() if name not in of_embeddings]

    @property
    def summary(self) -> str:
        """The members in a line, with weights that differ."""
        weights = self.weights
        shown = [
            name if len({*weights}) == 1 else f"{weight:g} {name}"
            for name, weight in zip(self.names, weights, strict=True)
        ]
        return f"{counted(len(shown), 'member')}: {', '.join(shown)}"

    @property
    def _dimensions(self) -> tuple[int | None, ...]:
        return tuple(
            (self.whiten if member.whiten is None else member.whiten or None)
            for member in self.members
        )

    @property
    def _shared_whitening(self) -> int | None:
        return self._dimensions[0] if len({*self._dimensions}) == 1 else None

    def _changed(self) -> dict[str, Any]:
        """Return the settings that are not the default, but for the members."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name != "members" and getattr(self, name) != field.get_default()
        }


def _toml(value: Any) -> str:
    """Return a text, a number, a truth value or a sequence of them as TOML."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):  # JSON escapes as TOML does, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
