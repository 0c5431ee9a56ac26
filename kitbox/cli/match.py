"""Command that matches keypoints: match."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kitbox.cli.options import (
    BackendOptions,
    CheckpointOption,
    CombineOptions,
    JsonOption,
    MatchDeviceOptions,
    MemberOptions,
    NamesArgument,
    RerankOption,
    WhitenOption,
    WorkspaceOption,
    choose_recipe,
    load_sources,
    print_unused,
    with_records,
)
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import counted

if TYPE_CHECKING:
    from kitbox.ensemble.ensemble import Ensemble
    from kitbox.keypoints.match_settings import MatchSettings
    from kitbox.keypoints.shortlist_matches import ShortlistMatches
    from kitbox.scoring.graph_comparison import GraphDifference, PairSeparation


@with_records
def match(
    names: NamesArgument = None,
    *,
    matchers: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="A local matcher, as sift or orb:points=800,size=640; repeat it for several. "
            "Default: those of the recipe, or sift.",
            metavar="MATCHER",
        ),
    ] = None,
    shortlist: Annotated[
        int | None,
        typer.Option(
            "--shortlist",
            help="Gallery images to match with each query; default: the matcher's.",
            metavar="N",
            min=1,
        ),
    ] = None,
    queries: Annotated[
        Literal["holdout", "test", "all"],
        typer.Option("--queries", help="Whose shortlists are matched."),
    ] = "holdout",
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget",
            help="Pairs of a matcher at most, the nearest of all queries first; default: the "
            "matcher's, or all.",
            metavar="PAIRS",
            min=1,
        ),
    ] = None,
    plugins: MemberOptions,
    whiten: WhitenOption = None,
    rerank: RerankOption = None,
    checkpoint: CheckpointOption = "last",
    device: MatchDeviceOptions,
    backend: BackendOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Match keypoints of similar images.

    Those of each query are matched with those of the images most similar to it. A pair is counted
    once, in whatever order it is asked for, and kept in the workspace: an interrupted run goes on
    where it was. On the holdout the matches alone are compared with the global similarity, paired,
    with 95 % intervals. An image without keypoints keeps its global similarity.

    \b
    Examples:
      kitbox match resnet34_620 --with sift --shortlist 50
      kitbox match resnet34_620 densenet121_480 --with sift --with orb --queries all
    """
    from kitbox.ensemble import members, neighbour_table
    from kitbox.ensemble.ensemble import Ensemble
    from kitbox.keypoints.match_settings import MatchSettings
    from kitbox.keypoints.pair_scores import MatchOptions
    from kitbox.keypoints.shortlist_matches import match_shortlists

    settings = [
        MatchSettings.parse(text, shortlist=shortlist, budget=budget) for text in matchers or ()
    ]
    backend.check(device.workers)
    workspace, competition = open_workspace(folder)
    combine = CombineOptions(whiten=whiten, rerank=rerank, checkpoint=checkpoint)
    recipe = choose_recipe(names, plugins, combine, workspace, competition)
    print_unused(recipe, "rerank", *(() if settings else ("match",)))
    settings = settings or [
        MatchSettings.parse(text, shortlist=shortlist, budget=budget)
        for text in recipe.match or ("sift",)
    ]
    sources = load_sources(recipe, workspace)
    collection = load_collection(workspace, competition)
    setup = Ensemble(
        collection=collection,
        competition=competition,
        workspace=workspace,
        options=recipe.options(),
        embed_options=device.for_embedding(),
    )
    options = MatchOptions(workers=device.workers, device=device.device)
    sides: tuple[Literal["holdout", "test"], ...]
    sides = ("holdout", "test") if queries == "all" else (queries,)
    report = []
    for side in sides:
        suitable = members.for_holdout if side == "holdout" else members.for_submission
        chosen = suitable(
            workspace,
            sources,
            recipe.weights,
            collection,
            recipe.checkpoint,
            whitening=recipe.whitening,
        )
        for line in members.checkpoint_warnings(chosen):
            print_line(line)
        ensemble = replace(setup, members=chosen)
        graphs, images = follow(neighbour_table.search_side(ensemble, side))
        for one in settings:
            begin = time.monotonic()
            stage = match_shortlists(
                one, graphs, images, workspace, options, unreadable=collection.unreadable
            )
            with backend.open(device.workers):
                found = follow(stage)
            seconds = time.monotonic() - begin
            report.append(_Row(one, side, found, seconds, ensemble))
    if as_json:
        print_json({"matches": [row.as_json() for row in report]})
        return
    print_table(
        ("matcher", "queries", "pairs", "cached", "matched", "left out", "seconds a pair"),
        [row.cells() for row in report],
        left=(0, 1),
    )
    for row in report:
        row.print_effect()


class _Row:
    """What a matcher did for the queries of a side, and what it is worth on the holdout."""

    def __init__(
        self,
        settings: "MatchSettings",
        side: str,
        found: "ShortlistMatches",
        seconds: float,
        ensemble: "Ensemble",
    ) -> None:
        self.settings, self.side, self.found, self.seconds = settings, side, found, seconds
        self.effect: tuple[GraphDifference, ...] = ()
        self.separation: PairSeparation | None = None
        if side == "holdout":
            self._measure(ensemble)

    def _measure(self, ensemble: "Ensemble") -> None:
        from kitbox.scoring import graph_comparison

        collection, found = ensemble.collection, self.found
        labelled = collection.labelled
        label_of = dict(zip(labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True))
        columns = found.columns(label_of)
        self.separation = graph_comparison.separate_pairs(
            columns["label"],
            columns["neighbour_label"],
            columns[found.pairs.ranked_by],
            columns["similarity"],
            ensemble.competition.images.unknown_label,
        )
        self.effect = graph_comparison.compare_graphs(
            found.graphs,
            found.reordered(),
            collection.holdout,
            ensemble.competition,
            ("similarity", f"{self.settings.kind} alone"),
            test_has_groups=collection.test_has_groups,
        )

    @property
    def _each(self) -> float | None:
        computed = self.found.pairs.computed
        return self.seconds / computed if computed else None

    @property
    def _left_out(self) -> int:
        pairs = self.found.pairs
        return pairs.distinct - pairs.cached - pairs.computed

    def cells(self) -> list[str]:
        pairs = self.found.pairs
        each = "" if self._each is None else f"{self._each:.3f}"
        numbers = (pairs.distinct, pairs.cached, pairs.computed, self._left_out)
        return [str(self.settings), self.side, *(f"{number:,}" for number in numbers), each]

    def print_effect(self) -> None:
        if self.separation is not None and self.separation.auc is not None:
            pairs, count = self.separation, self.found.pairs.ranked_by
            print_line(
                f"{self.settings.kind}: {pairs.same:,} of "
                f"{counted(pairs.pairs, 'labelled pair')} show one individual; area under the ROC "
                f"curve of the {count} {pairs.auc:.3f}, of the similarity "
                f"{pairs.auc_of_similarity:.3f}"
            )
        for change in self.effect:
            before, after = change.difference.names
            print_line(
                f"{change.metric}: {before} {change.before:.4f}, {after} {change.after:.4f}; "
                f"{change.difference.sentence}"
            )

    def as_json(self) -> dict[str, Any]:
        pairs = self.found.pairs
        effect = {
            "separation": None if self.separation is None else self.separation.as_json(),
            "effect": [change.as_json() for change in self.effect],
        }
        return {
            "matcher": str(self.settings),
            "queries": self.side,
            "pairs": pairs.distinct,
            "cached": pairs.cached,
            "matched": pairs.computed,
            "left_out": self._left_out,
            "seconds_a_pair": self._each,
            "without_keypoints": pairs.without_keypoints,
            **(effect if self.side == "holdout" else {}),
        }
