"""Options that several commands share, alone or as records, and how their values are parsed.

typer reads a command's signature. `with_records` lets a signature name a record of options in place
of the options themselves; the command receives the record.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kitbox.cli.terminal import print_line
from kitbox.errors import KitboxError
from kitbox.workspace import find_workspace

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.devices.launch import Processes
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.ensemble.members import MemberSource
    from kitbox.ensemble.recipe import Recipe
    from kitbox.plugin.cost import Cost
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.workspace import Workspace


def complete_plugins(context: typer.Context, incomplete: str) -> list[str]:
    """Return the plugins whose names begin so, for the completion of a shell."""
    from kitbox.plugin import discovery

    folder = context.params.get("folder") or context.find_root().params.get("workspace")
    try:
        workspace = find_workspace(Path(folder) if folder else None)
    except KitboxError:
        workspace = None
    names = discovery.plugin_names(workspace)
    names += [] if workspace is None else discovery.derived_names(workspace)
    given = context.params.get("names") or ()
    return [name for name in sorted(names) if name.startswith(incomplete) and name not in given]


def complete_members(context: typer.Context, incomplete: str) -> list[str]:
    """Return the plugins and imported embeddings whose names begin so, for a shell."""
    from kitbox.embedding import imported_embeddings

    names = complete_plugins(context, incomplete)
    with suppress(KitboxError):
        folder = context.params.get("folder") or context.find_root().params.get("workspace")
        names += imported_embeddings.names(find_workspace(Path(folder) if folder else None))
    given = context.params.get("names") or ()
    return sorted(name for name in names if name.startswith(incomplete) and name not in given)


def complete_presets(incomplete: str) -> list[str]:
    """Return the presets whose names begin so, for the completion of a shell."""
    from kitbox.competition import presets

    return [name for name in presets.names() if name.startswith(incomplete)]


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME...]",
        help="Plugins or imported embeddings.",
        autocompletion=complete_members,
        show_default=False,
    ),
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", help="The workspace; default: the nearest kitbox.toml.", metavar="DIR"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where networks run.")
]
PrecisionOption = Annotated[
    Literal["auto", "32", "bf16", "16"],
    typer.Option("--precision", help="Number format; auto: half where the device has it."),
]
EngineOption = Annotated[
    Literal["auto", "torch", "onnx"],
    typer.Option(
        "--engine",
        help="What runs networks on a CPU: torch, or ONNX Runtime; auto: the faster one.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="Processes that read images.", min=0)
]
FoldOption = Annotated[
    str, typer.Option("--fold", help="One of holdout.folds, or all.", metavar="K")
]
CheckpointOption = Annotated[
    Literal["last", "best"],
    typer.Option("--checkpoint", help="Checkpoint to use; best: by the holdout score."),
]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="A weight for each plugin, as 2,1.", metavar="W,W")
]

WhitenOption = Annotated[
    str | None,
    typer.Option(
        "--whiten",
        help="PCA-whiten each plugin's block to DIM, or as 256,none one by one.",
        metavar="DIM,DIM",
    ),
]
RerankOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rerank",
        help="Re-rank neighbours, as dba or k_reciprocal:k1=8, or index them, as sq8; repeat it.",
        metavar="STEP",
    ),
]
ViewOption = Annotated[
    list[str] | None,
    typer.Option(
        "--view",
        help="Average views of each image: plain, flip, scale:1.25, five_crops, boxes; repeat it, "
        "or use commas.",
        metavar="VIEW",
    ),
]


RecipeOption = Annotated[
    Path | None,
    typer.Option("--recipe", help="A file in place of plugins and their options.", metavar="FILE"),
]


@dataclass(frozen=True, kw_only=True)
class MemberOptions:
    """How much each plugin counts and which views it has, or a recipe in place of plugins."""

    weights: WeightsOption = None
    view: ViewOption = None
    recipe: RecipeOption = None


@dataclass(frozen=True, kw_only=True)
class HardwareOptions:
    """Where and how networks run."""

    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    workers: WorkersOption = None


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(HardwareOptions):
    """Where and how networks embed images."""

    engine: EngineOption = "auto"

    def for_embedding(self) -> "EmbedOptions":
        """Return them as options of the embedder."""
        from kitbox.embedding.embedder import EmbedOptions

        return EmbedOptions(
            device=self.device,
            precision=self.precision,
            workers=self.workers,
            engine=self.engine,
        )


@dataclass(frozen=True, kw_only=True)
class ProcessOptions:
    """The processes that share the work of a command; see docs/scale.md."""

    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            help="Processes on each machine, with a device each; default: 1, or those that "
            "torchrun or srun has started.",
            min=1,
            show_default=False,
        ),
    ] = None
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes", help="Machines; default: as for --devices.", min=1, show_default=False
        ),
    ] = None

    def resolve(self) -> "Processes":
        """Return how many processes the command has."""
        from kitbox.devices.launch import Processes

        return Processes.resolve(self.devices, self.nodes)


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """Where the work on many files runs; see docs/scale.md."""

    backend: Annotated[
        Literal["threading", "loky", "dask", "ray"] | None,
        typer.Option(
            "--backend",
            help="What reads many files: threads, processes (loky), or a cluster of dask or ray; "
            "default: threads.",
            show_default=False,
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="The scheduler of a cluster, as tcp://host:8786; default: a cluster on this "
            "machine.",
            show_default=False,
        ),
    ] = None

    def check(self, workers: int | None) -> None:
        """Raise KitboxError where --workers does not go with it, before other work begins."""
        from kitbox.devices.joblib_backend import check_backend

        check_backend(self.backend, self.address, workers)

    def open(self, workers: int | None = None) -> AbstractContextManager[None]:
        """Return the context in which the work runs there, by so many processes of loky."""
        from kitbox.devices.joblib_backend import open_backend

        return open_backend(self.backend, self.address, workers)


@dataclass(frozen=True, kw_only=True)
class MatchDeviceOptions(DeviceOptions):
    """Where and how networks embed images, and keypoints are matched."""

    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="Processes that read images, and threads that match keypoints.",
            min=0,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CombineOptions:
    """How trained plugins answer together."""

    whiten: WhitenOption = None
    combine: Annotated[
        Literal["embeddings", "labels", "classifier"],
        typer.Option(
            "--combine",
            help="Join embeddings, average the plugins' similarities of labels, or fit a "
            "classifier.",
        ),
    ] = "embeddings"
    dims: Annotated[
        int | None,
        typer.Option(
            "--dims", help="Dimensions of the classifier's PCA; default: 2048.", metavar="DIM",
            min=2,
        ),
    ] = None  # fmt: skip
    new_label: Annotated[
        Literal["threshold", "learned"],
        typer.Option(
            "--new-label", help="How unknown individuals are found; learned: fitted on the holdout."
        ),
    ] = "threshold"
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            help="Where answers end: best, ami (of clusters), balanced, a similarity as 0.35, or a "
            "share unknown as 16.5%.",
            metavar="T",
        ),
    ] = None
    checkpoint: CheckpointOption = "last"
    rerank: RerankOption = None
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match",
            help="Match keypoints on a shortlist, as sift:shortlist=50; repeat it for more.",
            metavar="MATCHER",
        ),
    ] = None
    fusion: Annotated[
        str | None,
        typer.Option(
            "--fusion",
            help="Join matches and members by logit, mean, boost, rank_sum, vote or classifier.",
            metavar="METHOD",
        ),
    ] = None
    balance: Annotated[
        str | None,
        typer.Option(
            "--balance",
            help="Share queries out among labels, as each_label or sinkhorn.",
            metavar="METHOD",
        ),
    ] = None

    def recipe_of(self, names: Sequence[str], options: MemberOptions) -> "Recipe":
        """Return the recipe of some plugins with these options."""
        from kitbox.ensemble.recipe import Recipe

        return Recipe.of(
            names,
            weights=parse_weights(options.weights),
            views=parse_views(options.view or ()),
            whiten=parse_whitening(self.whiten),
            combine=self.combine,
            dims=self.dims,
            new_label=self.new_label,
            threshold=self.threshold,
            checkpoint=self.checkpoint,
            rerank=tuple(self.rerank or ()),
            match=tuple(self.match or ()),
            fusion=self.fusion,
            balance=self.balance,
        )


def with_records(command: Callable[..., None]) -> Callable[..., None]:
    """Show typer the options of each record among a command's parameters, in the record's place."""
    records: dict[str, type[Any]] = {}
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        record = parameter.annotation
        if isinstance(record, type) and is_dataclass(record):
            records[parameter.name] = record
            parameters += signature(record).parameters.values()
        else:
            parameters.append(parameter)

    @wraps(command)
    def run(**values: Any) -> None:
        built = {
            name: record(**{field.name: values.pop(field.name) for field in fields(record)})
            for name, record in records.items()
        }
        command(**values, **built)

    keyword_only = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = Signature(keyword_only)  # type: ignore[attr-defined]
    return run


def given_options(*records: object) -> list[str]:
    """Return the names, as '--whiten', of the options whose value is not the default."""
    return [
        f"--{field.name.replace('_', '-')}"
        for record in records
        for field in fields(record)  # type: ignore[arg-type]
        if getattr(record, field.name) not in (field.default, [])
    ]


def add_settings(name: str, changes: dict[str, Any]) -> str:
    """Return the name of a plugin with changed settings; None leaves a setting as it is."""
    from kitbox.plugin import derivation

    base, own = derivation.split_name(name)
    given = {setting: value for setting, value in changes.items() if value is not None}
    return derivation.join_name(base, own | given)


def load_plugins(names: list[str], workspace: "Workspace") -> "list[NamedPlugin]":
    """Return the plugins of these names."""
    from kitbox.embedding import imported_embeddings
    from kitbox.plugin import discovery

    imported = {*imported_embeddings.names(workspace)} - {*discovery.plugin_names(workspace)}
    for name in names:
        if name in imported:
            raise KitboxError(
                f"{name} is imported embeddings, which have no network; name a plugin"
            )
    return [discovery.load(name, workspace) for name in names]


def load_members(
    names: Sequence[str], workspace: "Workspace", views: Sequence[str] | None = None
) -> "list[MemberSource]":
    """Return the plugins or imported embeddings of these names, with frozen networks built.

    `views` are those of --view; a name that has views of its own keeps them.
    """
    from kitbox.ensemble import members
    from kitbox.plugin.discovery import NamedPlugin

    found = members.find(names, workspace, parse_views(views or ()))
    if views:
        for one in found:
            if not isinstance(one, NamedPlugin):
                print_line(f"{one.name} is imported embeddings: --view leaves it as it is")
    build_frozen(found, workspace)
    return found


def choose_recipe(
    names: Sequence[str] | None,
    options: MemberOptions,
    combine: CombineOptions,
    workspace: "Workspace",
    competition: "Competition",
) -> "Recipe":
    """Return the recipe of a command line: names with options, or a file; else kitbox.toml's."""
    from kitbox.ensemble.recipe import Recipe

    given = [option for option in given_options(options, combine) if option != "--recipe"]
    found = Recipe.find(options.recipe, names or (), given, workspace, competition)
    if found is None:
        return combine.recipe_of(names or (), options)
    path, chosen = found
    print_line(f"{path}: {chosen.summary}")
    return chosen


def load_sources(recipe: "Recipe", workspace: "Workspace") -> "list[MemberSource]":
    """Return the plugins or embeddings of a recipe, with frozen networks built."""
    from kitbox.plugin.discovery import NamedPlugin

    found = recipe.sources(workspace)
    for one, member in zip(found, recipe.members, strict=True):
        if member.views and not isinstance(one, NamedPlugin):
            print_line(f"{one.name} is imported embeddings: views leave it as it is")
    build_frozen(found, workspace)
    return found


def print_unused(recipe: "Recipe", *used: str) -> None:
    """Print which settings of a recipe are of answers, and so without effect here."""
    unused = recipe.settings_of_answers(*used)
    if unused:
        print_line(f"without effect here: {', '.join(unused)} of the recipe")


def build_frozen(sources: "Iterable[MemberSource]", workspace: "Workspace") -> None:
    """Build the network of each frozen plugin that has none here, and say so."""
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.training import runs

    for named in sources:
        if not isinstance(named, NamedPlugin) or not named.plugin.frozen:
            continue
        if runs.exists(workspace, named):
            continue
        from kitbox.training import transfer  # torch

        if (built := transfer.build_if_frozen(named, workspace)) is not None:
            print_line(built)


def parse_views(given: Sequence[str]) -> tuple[str, ...]:
    """Return the names of --view, which may be repeated and may hold commas."""
    from kitbox.plugin import views

    try:
        found = views.parse_views(part for text in given for part in text.split(","))
    except ValueError as error:
        raise KitboxError(str(error), where="--view") from error
    return tuple(view.name for view in found)


def split_names(text: str) -> list[str]:
    """Return the plugins of x+y; the views of x@views=plain+flip stay together."""
    from kitbox.plugin import views

    names: list[str] = []
    for part in text.split("+"):
        if names and "views=" in names[-1] and views.is_view(part.partition(",")[0]):
            names[-1] += f"+{part}"
        else:
            names.append(part)
    return names


def measure_plugin(named: "NamedPlugin") -> "Cost":
    """Return the cost of a plugin's network, which is built unless it was measured before.

    Raises KitboxError with the plugin's name for a backbone that does not exist, and for one that
    does not take the plugin's image sizes.
    """
    from kitbox.plugin import cost

    known = cost.find(named.plugin)
    if known is not None:
        return known
    from kitbox.network.network import measure_cost

    try:
        measured = measure_cost(named.plugin)
    except KitboxError as error:
        place = f"{named.name}: {error.where}" if error.where else named.name
        raise KitboxError(error.what, where=place, fix=error.fix) from error
    cost.store(named.plugin, measured)
    return measured


def parse_weights(text: str | None) -> list[float] | None:
    """Return the numbers of --weights."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise KitboxError(f"--weights {text} is not numbers with commas, as 2,1") from error


def parse_whitening(text: str | None) -> int | list[int | None] | None:
    """Return the dimensions of --whiten: for all plugins, or plugin by plugin."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part == "none" or (part.isdecimal() and len(part) < 10) for part in parts):
        raise KitboxError(
            f"--whiten {text} is neither dimensions, as 256, nor one for each plugin, as 256,none"
        )
    dims = [None if part == "none" else int(part) for part in parts]
    if any(each is not None and each < 2 for each in dims):
        raise KitboxError(f"--whiten {text}: give 2 dimensions or more")
    return dims[0] if len(dims) == 1 else dims


def parse_folds(text: str, competition: "Competition") -> list[int]:
    """Return the folds of --fold."""
    folds = competition.holdout.folds
    if text == "all":
        return list(range(1, folds + 1))
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= folds:
        raise KitboxError(
            f"--fold {text}: kitbox.toml has holdout.folds = {folds}; give 1 to {folds}, or all"
        )
    return [int(text)]


def parse_fold(text: str, competition: "Competition", why: str) -> int:
    """Return the only fold of --fold; `why` begins the error for several."""
    folds = parse_folds(text, competition)
    if len(folds) > 1:
        raise KitboxError(f"{why}; name it with --fold")
    return folds[0]
