"""A workspace in Python: what the commands do, as methods that return records and tables.

>>> import kitbox
>>> whales = kitbox.open(folder)
>>> whales.neighbours("frozen_64", k=2).columns
('image', 'label', 'rank', 'neighbour', 'neighbour_label', 'similarity')
"""

import sys
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

import numpy as np

from kitbox.catalogue import catalogue_list
from kitbox.columns import Table
from kitbox.competition import settings
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection, collect
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import answers, members, neighbour_table
from kitbox.ensemble.ensemble import Combine, Ensemble, UnknownRule
from kitbox.ensemble.members import MemberSource
from kitbox.ensemble.neighbour_table import AllImages
from kitbox.ensemble.recipe import Recipe
from kitbox.errors import KitboxError, KitboxWarning, did_you_mean
from kitbox.files import check_writable
from kitbox.identification import (
    catalogue_boxes,
    catalogue_workspace,
    identified_table,
    photograph_answers,
)
from kitbox.identification.catalogue_search import IdentifyOptions
from kitbox.identification.photograph_answers import Identification
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import MatchOptions
from kitbox.keypoints.shortlist_matches import match_shortlists
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.views import parse_views
from kitbox.records import (
    Checkpoint,
    Embeddings,
    ImageSet,
    Progress,
    Scores,
    Strings,
    strings,
)
from kitbox.report import effects_page
from kitbox.selection import recipe_search
from kitbox.selection.effects import Explanation
from kitbox.selection.recipe_search import HoldoutFolds
from kitbox.selection.search_result import SearchResult, SearchSettings
from kitbox.submission import receipt
from kitbox.submission.receipt import Package
from kitbox.training import runs, trainer
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.training.events import StepDone, TrainingEvent, TrainingWarning
from kitbox.workspace import Workspace, find_workspace

Event = TrainingEvent | str
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32", "bf16", "16"]
Engine = Literal["auto", "torch", "onnx"]
Result = TypeVar("Result")
# Seconds between two events of progress.
_INTERVAL = 5.0


class MemberKeywords(TypedDict, total=False):
    """How much each name counts, the views of images, and whitening, as options of commands.

    `views` are averaged, as ["plain", "flip"]; `whiten` is one for all, or one for each name.
    """

    weights: Sequence[float] | None
    views: Sequence[str]
    whiten: int | Sequence[int | None] | None


class SearchKeywords(TypedDict, total=False):
    """How an ensemble answers, but for the weights of its members, as options of commands."""

    views: Sequence[str]
    whiten: int | Sequence[int | None] | None
    combine: Combine
    dims: int | None
    new_label: UnknownRule
    threshold: str | None
    rerank: str | Sequence[str]
    match: str | Sequence[str]
    fusion: str | None
    balance: str | None
    checkpoint: Literal["last", "best"]


class EnsembleKeywords(SearchKeywords, total=False):
    """How an ensemble answers, as options of `kitbox score`."""

    weights: Sequence[float] | None


@dataclass(frozen=True, kw_only=True)
class Project:
    """A workspace, opened for Python with `kitbox.open`.

    Lists, decisions and settings are read again by every method, as by every command; images that
    have been read and embeddings come from their caches.
    """

    workspace: Workspace
    device: Device = "auto"
    precision: Precision = "auto"
    engine: Engine = "auto"
    workers: int | None = None
    progress: Callable[[Any], object] | None = None
    _shown: set[str] = field(default_factory=set, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"kitbox.open({str(self.workspace.root)!r})"

    @property
    def competition(self) -> Competition:
        """The settings of kitbox.toml.

        >>> whales.competition.metric
        'label_map_at_5'
        """
        return settings.load(self.workspace)

    def collection(self, fold: int = 1) -> Collection:
        """Return the usable images, split into a fold's holdout and the rest.

        >>> len(whales.collection().holdout.query)
        5
        """
        return self._collect(self.competition, fold)

    @property
    def images(self) -> Table:
        """The usable images with label, part (train, holdout, test or index) and path.

        >>> images = whales.images
        >>> images.columns
        ('image', 'label', 'part', 'path')
        >>> test = images.take(images["part"] == "test")
        >>> len(images), len(test)
        (32, 8)
        """
        collection = self.collection()
        held_out = np.isin(
            collection.labelled.image_ids, collection.holdout.query.image_ids.tolist()
        )
        parts: list[tuple[ImageSet, Strings]]
        parts = [(collection.labelled, np.where(held_out, "holdout", "train"))]
        others = (("test", collection.test), ("index", collection.index))
        parts += [
            (images, np.full(len(images), part)) for part, images in others if images is not None
        ]
        return Table(
            {
                "image": np.concatenate([images.image_ids for images, _ in parts]),
                "label": np.concatenate([_labels(images) for images, _ in parts]),
                "part": np.concatenate([part for _, part in parts]),
                "path": strings([str(path) for images, _ in parts for path in images.paths]),
            }
        )

    def plugins(self) -> Table:
        """Return the plugins of the workspace, of kitbox and of packages.

        Raises KitboxError for the first plugin file that does not load.

        >>> plugins = whales.plugins()
        >>> plugins.take(plugins["source"] == "workspace")["name"].tolist()
        ['frozen_64', 'small_32']
        """
        names = discovery.plugin_names(self.workspace)
        names += discovery.derived_names(self.workspace)
        found, mistakes = discovery.load_all(self.workspace, sorted(names))
        if mistakes:
            raise mistakes[0]
        trained = [runs.trained_on(self.workspace, named) for named in found]
        return Table(
            {
                "name": strings([named.name for named in found]),
                "source": strings([named.source for named in found]),
                "backbone": strings([named.plugin.backbone for named in found]),
                "height": np.array([named.plugin.height_width[0] for named in found]),
                "width": np.array([named.plugin.height_width[1] for named in found]),
                "epochs": np.array([named.plugin.epochs for named in found]),
                "licence": strings([named.terms.licence or "" for named in found]),
                "trained_on": strings([" ".join(on) for on in trained]),
                "fingerprint": strings([named.plugin.fingerprint for named in found]),
            }
        )

    def train(
        self,
        name: str,
        *,
        on: Literal["holdout", "all"] = "holdout",
        fold: int = 1,
        seed: int | None = None,
        weights: str | None = None,
        init_from: str | None = None,
        fresh: bool = False,
    ) -> Checkpoint:
        """Train a plugin, or resume its training; return its checkpoint.

        `name` may hold changed settings, as "small_32@epochs=2".

        >>> checkpoint = whales.train("small_32")
        >>> checkpoint.epoch, checkpoint.trained_on
        (1, 'trained on holdout')
        """
        if weights is not None and init_from is not None:
            raise KitboxError("weights and init_from both say where to start; give one of them")
        if on == "all" and fold != 1:
            raise KitboxError("on='all' trains on every label; it has no fold")
        competition = self.competition
        named = discovery.load(name, self.workspace)
        options = TrainOptions(
            on=on,
            weights=weights,
            init_from=init_from,
            seed=seed,
            device=self.device,
            precision=self.precision,
            workers=self.workers,
            fresh=fresh,
        )
        setup = TrainSetup(self._collect(competition, fold), competition, self.workspace, options)
        return self._run(trainer.train(named, setup))

    def score(
        self,
        *names: str,
        recipe: str | Path | None = None,
        fold: int | Literal["all"] = 1,
        **options: Unpack[EnsembleKeywords],
    ) -> Scores:
        """Return the local scores of one plugin, or of several as an ensemble.

        A `recipe` is a file, such as 'best.toml', in place of names and options. Without either it
        is that of kitbox.toml. `options` are those of `EnsembleKeywords`.

        >>> scores = whales.score("frozen_64", whiten=8)
        >>> 0 <= scores.main.value <= 1
        True
        >>> scores.table.columns
        ('metric', 'score', 'low', 'high', 'queries')
        >>> whales.score("frozen_64", rerank="dba:k=2").main.queries
        5
        """
        chosen = self._recipe(names, recipe, EnsembleKeywords, options)
        competition, sources = self.competition, self._sources(chosen)
        found = []
        for number in _folds(fold, competition):
            stage = answers.score_plugins(
                self._setup(chosen, fold=number),
                sources,
                chosen.weights,
                chosen.checkpoint,
                whitening=chosen.whitening,
                fold=number,
            )
            found.append(self._run(stage)[1])
        return answers.pool_folds(found).score.scores

    def search(
        self,
        *names: str,
        metric: str | None = None,
        trials: int = 60,
        seconds: float | None = None,
        seed: int = 0,
        out: str | Path | None = None,
        fold: int | Literal["all"] = 1,
        **options: Unpack[SearchKeywords],
    ) -> SearchResult:
        """Search for members, weights and steps; return the gain out of sample and the recipe.

        The recipe is that of one plugin, alone or whitened, where nothing else pays. It is written
        to `out`, if given.

        >>> found = whales.search("resnet34_620", "densenet121_480")  # doctest: +SKIP
        >>> found.chosen.gain.sentence, found.recipe.summary  # doctest: +SKIP
        >>> whales.search("frozen_64")
        Traceback (most recent call last):
        kitbox.errors.KitboxError: a search combines plugins, and frozen_64 is the only one; ...
        """
        limits = SearchSettings(metric=metric, trials=trials, seconds=seconds, seed=seed)
        if out is not None:
            check_writable(Path(out))
        if not names and self.competition.ensemble.recipe is None:
            raise KitboxError("name plugins to search among", fix="'kitbox plugins' lists plugins")
        given = self._recipe(names, None, SearchKeywords, options)
        sources = self._sources(given)
        stage = recipe_search.search_recipe(given, sources, self._holdout_folds(fold), limits)
        found = self._run(stage)
        if out is not None and found.recipe is not None:
            found.recipe.write(Path(out), "\n".join(found.comment))
        return found

    def explain(
        self,
        *names: str,
        metric: str | None = None,
        recipe: str | Path | None = None,
        out: str | Path | None = None,
        fold: int | Literal["all"] = 1,
        **options: Unpack[SearchKeywords],
    ) -> Explanation:
        """Return what each member, view, whitening and step adds to an ensemble or a recipe.

        Names beside a `recipe` are plugins that could be added to it. A page is written to `out`,
        if given.

        >>> found = whales.explain("frozen_64", "frozen_64@views=plain+flip")
        >>> [effect.name for effect in found.effects if effect.kind == "member"]
        ['frozen_64', 'frozen_64@views=plain+flip']
        """
        beside = names if recipe is not None else ()
        # views are those of the plugins beside a recipe
        views: SearchKeywords = {"views": options.pop("views", ())} if beside else {}
        given = self._recipe(() if beside else names, recipe, SearchKeywords, options)
        if out is not None:
            check_writable(Path(out))
        sources, others = self._sources(given), None
        if beside:
            added = self._recipe(beside, None, SearchKeywords, views)
            others = added, self._sources(added)
        folds = self._holdout_folds(fold)
        found = self._run(
            recipe_search.explain_recipe(given, sources, folds, others=others, metric=metric)
        )
        if out is not None:
            effects_page.write(found, self.competition, Path(out))
        return found

    def embeddings(
        self,
        *names: str,
        recipe: str | Path | None = None,
        on: Literal["holdout", "all"] = "holdout",
        **options: Unpack[MemberKeywords],
    ) -> Embeddings:
        """Return the unit embeddings of all usable images; several plugins' are joined.

        `on` names the networks: those that have not seen the holdout, or those of a submission.
        `views` are averaged, as ["plain", "flip"].

        >>> found = whales.embeddings("frozen_64")
        >>> found.image_ids.shape, found.vectors.shape
        ((32,), (32, 16))
        """
        chosen = self._recipe(names, recipe, MemberKeywords, options)
        return self._run(self._open(chosen, on).embeddings())

    def neighbours(
        self,
        *names: str,
        k: int = 20,
        rerank: str | Sequence[str] = (),
        recipe: str | Path | None = None,
        on: Literal["holdout", "all"] = "holdout",
        **options: Unpack[MemberKeywords],
    ) -> Table:
        """Return the k images most similar to each usable image, best first.

        >>> near = whales.neighbours("frozen_64", k=3)
        >>> len(near)
        96
        >>> near["rank"][:3].tolist()
        [1, 2, 3]
        """
        if k < 1:
            raise KitboxError(f"k = {k}: give 1 or more")
        chosen = self._recipe(names, recipe, MemberKeywords, options, rerank=rerank)
        found = self._open(chosen, on, "rerank")
        images, embeddings = found.images, self._run(found.embeddings())
        stage = neighbour_table.nearest_images(
            embeddings, images, images, self.competition, k, found.reranker
        )
        return Table(self._run(stage))

    def match(
        self,
        *names: str,
        matcher: str | Sequence[str] | None = None,
        shortlist: int | None = None,
        budget: int | None = None,
        queries: Literal["holdout", "test", "all"] = "holdout",
        rerank: str | Sequence[str] = (),
        recipe: str | Path | None = None,
        checkpoint: Literal["last", "best"] = "last",
        **options: Unpack[MemberKeywords],
    ) -> Table:
        """Match keypoints of each query with those of the images most similar to it.

        A `matcher` has settings as "sift:shortlist=50,points=800"; `shortlist` and `budget` hold
        where it has none of its own. Without one the matchers are those of the recipe, or sift.
        Return a row for each pair of a shortlist, by query and rank; with several matchers the
        column `matcher` comes first. Counts are NaN where a pair was not measured.

        >>> matched = whales.match("frozen_64", matcher="sift:shortlist=3")
        >>> matched.columns[-4:]
        ('matches', 'inliers', 'confident', 'ratio')
        >>> len(matched)
        15
        """
        used = self._recipe(
            names, recipe, MemberKeywords, options, rerank=rerank, checkpoint=checkpoint
        )
        self._show_unused(used, "rerank", *(("match",) if matcher is None else ()))
        texts = (matcher,) if isinstance(matcher, str) else matcher or used.match or ("sift",)
        matchers = [MatchSettings.parse(t, shortlist=shortlist, budget=budget) for t in texts]
        setup, sources, tables = self._setup(used), self._sources(used), []
        labelled, unreadable = setup.collection.labelled, setup.collection.unreadable
        label_of = dict(zip(labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True))
        match_options = MatchOptions(workers=self.workers, device=self.device)
        for side in _sides(queries):
            suitable = members.for_holdout if side == "holdout" else members.for_submission
            chosen = suitable(
                self.workspace,
                sources,
                used.weights,
                setup.collection,
                used.checkpoint,
                whitening=used.whitening,
            )
            for line in members.checkpoint_warnings(chosen):
                self._show(line)
            stage = neighbour_table.search_side(replace(setup, members=chosen), side)
            graphs, images = self._run(stage)
            for one in matchers:
                matches = match_shortlists(
                    one, graphs, images, self.workspace, match_options, unreadable=unreadable
                )
                columns = self._run(matches).columns(label_of)
                name = strings([str(one)] * len(columns["image"]))
                tables.append(({"matcher": name} if len(matchers) > 1 else {}) | columns)
        return Table({name: np.concatenate([t[name] for t in tables]) for name in tables[0]})

    def submit(
        self,
        *names: str,
        note: str = "",
        recipe: str | Path | None = None,
        top_k: int | None = None,
        **options: Unpack[EnsembleKeywords],
    ) -> Package:
        """Write a submission with its receipt; return both, with the local scores.

        >>> made = whales.submit("frozen_64", whiten=8, note="frozen")
        >>> made.csv.name
        'submission.csv'
        >>> made.receipt["note"]
        'frozen'
        """
        chosen = self._recipe(names, recipe, EnsembleKeywords, options)
        stage = receipt.submit(
            self._setup(chosen, top_k=top_k),
            self._sources(chosen),
            chosen.weights,
            chosen.checkpoint,
            whitening=chosen.whitening,
            note=note,
            recipe=chosen.text(),
        )
        return self._run(stage)

    def _holdout_folds(self, fold: int | Literal["all"]) -> HoldoutFolds:
        competition = self.competition
        return HoldoutFolds(
            collections={n: self._collect(competition, n) for n in _folds(fold, competition)},
            competition=competition,
            workspace=self.workspace,
            embed_options=self._embed_options,
        )

    def _collect(self, competition: Competition, fold: int = 1) -> Collection:
        catalogue_list.refresh(self.workspace)
        collection = self._run(collect(self.workspace, competition, fold))
        for note in collection.notes:
            self._show(note)
        return collection

    def _recipe(
        self,
        names: Sequence[str],
        file: str | Path | None,
        known: type,
        keywords: Mapping[str, Any],
        **others: Any,
    ) -> Recipe:
        """Return the recipe of some names with options, or of a file; else kitbox.toml's.

        Raises TypeError for keywords that are not `known`, as Python does.
        """
        for name in keywords:
            if name not in known.__annotations__:
                near = did_you_mean(name, known.__annotations__)
                raise TypeError(f"unexpected keyword argument '{name}'{near}")
        options = {"views": (), **keywords, **others}
        if isinstance(options["views"], str):
            views = options["views"]
            raise KitboxError(f"views = {views!r}: give several, as [{views!r}]")
        for name in {"rerank", "match"} & options.keys():
            steps = options[name]
            options[name] = (steps,) if isinstance(steps, str) else tuple(steps)
        usual = {"combine": "embeddings", "new_label": "threshold", "checkpoint": "last"}
        given = [
            f"{name}="
            for name, value in (options | {"views": tuple(options["views"])}).items()
            if value not in (None, (), usual.get(name))
        ]
        path = None if file is None else Path(file).expanduser()
        found = Recipe.find(path, names, given, self.workspace, self.competition)
        if found is not None:
            return found[1]
        try:
            options["views"] = [view.name for view in parse_views(options["views"])]
        except ValueError as error:
            raise KitboxError(str(error), where="views") from error
        return Recipe.of(names, **options)

    def _sources(self, recipe: Recipe) -> list[MemberSource]:
        """Return the plugins or embeddings of a recipe; tell of views that change nothing."""
        found = recipe.sources(self.workspace)
        for one, member in zip(found, recipe.members, strict=True):
            if member.views and not isinstance(one, NamedPlugin):
                self._show(f"{one.name} is imported embeddings: views leave it as it is")
        return found

    def _setup(self, recipe: Recipe, *, fold: int = 1, top_k: int | None = None) -> Ensemble:
        competition = recipe.set_threshold(self.competition)
        return Ensemble(
            collection=self._collect(competition, fold),
            competition=competition,
            workspace=self.workspace,
            options=recipe.options(top_k),
            embed_options=self._embed_options,
        )

    @property
    def _embed_options(self) -> EmbedOptions:
        return EmbedOptions(
            device=self.device,
            precision=self.precision,
            engine=self.engine,
            workers=self.workers,
        )

    def _show_unused(self, recipe: Recipe, *used: str) -> None:
        unused = recipe.settings_of_answers(*used)
        if unused:
            self._show(f"without effect here: {', '.join(unused)} of the recipe")

    def _open(self, recipe: Recipe, on: Literal["holdout", "all"], *used: str) -> AllImages:
        """Return all usable images, with the ensemble of a recipe for looking at them."""
        sources = self._sources(recipe)
        self._show_unused(recipe, *used)
        stage = neighbour_table.open_all(
            self._setup(recipe),
            sources,
            recipe.weights,
            recipe.checkpoint,
            whitening=recipe.whitening,
            on=on,
        )
        return self._run(stage)

    def _run(self, stage: Generator[Event, None, Result]) -> Result:
        """Run a stage to its end, show its events, and return its result."""
        last = time.monotonic()
        while True:
            try:
                event = next(stage)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(event, Progress | StepDone) and not getattr(event, "notice", ""):
                if time.monotonic() - last < _INTERVAL:
                    continue
                last = time.monotonic()
            self._show(event)

    def _show(self, event: Event) -> None:
        """Hand an event on; without `progress` print it in a terminal, and warn in a notebook.

        The same sentence, as of an image that was left out, is shown once.
        """
        if isinstance(event, str):
            if event in self._shown:
                return
            self._shown.add(event)
        if self.progress is not None:
            self.progress(event)
        elif sys.stderr is not None and sys.stderr.isatty():
            print(event, file=sys.stderr, flush=True)
        elif isinstance(event, str | TrainingWarning):
            warnings.warn(str(event), KitboxWarning, stacklevel=_stacklevel())


def open_project(
    folder: str | Path | None = None,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    workers: int | None = None,
    progress: Callable[[Any], object] | None = None,
) -> Project:
    """Open a workspace: a folder, else KITBOX_WORKSPACE or the nearest one of the current folder.

    `progress` is called with each event of a long method, such as `print`: a text, or a record with
    a text, of which those that only count come every few seconds. Without it progress is printed in
    a terminal alone, and what needs attention becomes a KitboxWarning.

    Raises KitboxError for a folder that is no workspace, and for settings that are not valid.

    >>> kitbox.open(folder).competition.name
    'humpback'
    """
    project = Project(
        workspace=find_workspace(None if folder is None else Path(folder).expanduser()),
        device=device,
        precision=precision,
        engine=engine,
        workers=workers,
        progress=progress,
    )
    settings.load(project.workspace)  # a mistake in it shows here
    return project


def identify(
    photographs: str | Path | Sequence[str | Path],
    catalogue: str | Path,
    *,
    names: str | Sequence[str] = (),
    match: str | Sequence[str] = (),
    certain: float = 0.8,
    new_share: float | None = None,
    boxes: str | Path | None = None,
    workspace: str | Path | None = None,
    device: Device = "auto",
    progress: Callable[[Any], object] | None = None,
) -> Identification:
    """Return who is on photographs, by a catalogue of known individuals, as 'kitbox identify' does.

    `photographs` are files or folders, `catalogue` is a folder with a folder for each individual, a
    list, or the workspace of one. `names` are plugins, by default the best network that is
    installed. `boxes` is a list of boxes of animals, such as MegaDetector's JSON. Answers are in
    the workspace's identified.csv too.
    """
    given = [photographs] if isinstance(photographs, str | Path) else photographs
    opened = catalogue_workspace.open_catalogue(
        Path(catalogue).expanduser(),
        [Path(path).expanduser() for path in given],
        None if workspace is None else Path(workspace).expanduser(),
    )
    options = IdentifyOptions(
        names=(names,) if isinstance(names, str) else tuple(names),
        match=(match,) if isinstance(match, str) else tuple(match),
        certain=certain,
        new_share=new_share,
        embed=EmbedOptions(device=device),
    )
    project = Project(workspace=opened.workspace, device=device, progress=progress)
    if boxes is not None:
        stage = catalogue_boxes.with_boxes(opened, Path(boxes).expanduser())
        opened = project._run(stage)
    for note in opened.notes:
        project._show(note)
    found = project._run(photograph_answers.identify(opened, options))
    for note in identified_table.save(found).notes:
        project._show(note)
    return found


def _labels(images: ImageSet) -> Strings:
    return images.labels if images.labels is not None else strings([""] * len(images))


def _sides(queries: Literal["holdout", "test", "all"]) -> tuple[Literal["holdout", "test"], ...]:
    return ("holdout", "test") if queries == "all" else (queries,)


def _folds(fold: int | Literal["all"], competition: Competition) -> list[int]:
    folds = competition.holdout.folds
    if fold == "all":
        return list(range(1, folds + 1))
    if not 1 <= fold <= folds:
        raise KitboxError(
            f"fold {fold}: kitbox.toml has holdout.folds = {folds}; give 1 to {folds}, or 'all'"
        )
    return [fold]


def _stacklevel() -> int:
    """Return the level of the nearest frame outside of this module, for a warning."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        level, frame = level + 1, frame.f_back
    return level
