"""What whitening and views gain: paired with the plain score, and told only where it helps."""

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import pytest

from kitbox.dataset.collection import collect
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import answers, gains, members
from kitbox.ensemble.answers import EnsembleScore
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.gains import Gain
from kitbox.records import Embeddings, ImageSet, Progress, strings
from kitbox.scoring.comparison import Difference
from tests.photographs import competition_on_disk, finish, named, tiny


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[Ensemble]:
    """An ensemble of one frozen network, on a holdout of ten individuals."""
    place = tmp_path_factory.mktemp("gains")
    workspace, competition = competition_on_disk(place, individuals=12, each=4)
    _, collection = finish(collect(workspace, competition))
    plugins = [named(tiny(epochs=0, image_size=64, embedding_dim=32))]
    return [
        Ensemble(
            members=members.for_holdout(workspace, plugins, None, collection),
            collection=collection,
            competition=competition,
            workspace=workspace,
            embed_options=EmbedOptions(device="cpu", precision="32", workers=0),
        )
    ]


def score_of(folds: list[Ensemble]) -> EnsembleScore:
    found: EnsembleScore = answers.pool_folds([finish(answers.score(fold))[1] for fold in folds])
    return found


def hide_individuals(monkeypatch: pytest.MonkeyPatch, shared: float) -> None:
    """Let all images share most of their vectors, beside a small part of each individual."""

    def embed(
        self: members.NetworkMember, images: ImageSet, *_: object, **__: object
    ) -> Generator[Progress, None, Embeddings]:
        yield from ()
        generator = np.random.default_rng(0)
        whales = [int(str(name).split("_")[0]) for name in images.image_ids]
        own = np.random.default_rng(1).normal(size=(max(whales) + 1, 12))[whales]
        # light and pose differ most, and say nothing of the individual
        pose = generator.normal(size=(len(whales), 2)) * shared
        noise = generator.normal(size=own.shape) * 0.3
        vectors = np.concatenate([pose, own + noise], axis=1)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embeddings(images.image_ids, vectors.astype(np.float32))

    monkeypatch.setattr(members.NetworkMember, "embed", embed)


def whitening(folds: list[Ensemble], *metrics: str) -> Gain | None:
    gain: Gain | None = finish(gains.by_whitening(folds, score_of(folds), metrics))[1]
    return gain


def test_whitening_that_helps_is_measured_as_its_option_scores(
    folds: list[Ensemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_individuals(monkeypatch, shared=12)
    gain = whitening(folds, "map_at_20")
    assert gain is not None
    dims = gain.setting
    assert isinstance(dims, int)
    whitened = [replace(fold, options=EnsembleOptions(whiten=dims)) for fold in folds]
    plain, after = (score_of(each).score.outcomes["map_at_20"] for each in (folds, whitened))
    assert gain.value == after.value
    assert gain.difference.value == pytest.approx(after.value - plain.value)
    assert gain.sentence == (
        f"whitened to {dims}: map_at_20 {after.value:.4f}, {after.value - plain.value:+.4f} "
        f"[{gain.difference.low:+.4f}, {gain.difference.high:+.4f}]; add --whiten {dims}"
    )
    assert gain.as_json()["whiten"] == dims


def test_whitening_that_does_not_help_is_not_offered(
    folds: list[Ensemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_individuals(monkeypatch, shared=0)
    assert whitening(folds, "map_at_20") is None


def test_whitening_is_not_tried_where_it_is_dear_or_there_already(
    folds: list[Ensemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_individuals(monkeypatch, shared=12)
    plain = score_of(folds)
    for options in (EnsembleOptions(whiten=4), EnsembleOptions(combine="labels")):
        changed = [replace(fold, options=options) for fold in folds]
        assert finish(gains.by_whitening(changed, plain, ["map_at_20"]))[1] is None
    large = replace(plain, dims=(20_000_000,))
    assert finish(gains.by_whitening(folds, large, ["map_at_20"]))[1] is None


def test_views_are_paired_with_the_plain_view(folds: list[Ensemble]) -> None:
    assert finish(gains.by_views(folds, score_of(folds), "map_at_20"))[1] is None
    [fold] = folds
    [member] = fold.members
    assert isinstance(member, members.NetworkMember)
    viewed = replace(member, named=member.named.with_views(("flip", "scale:1.5")))
    seen = [replace(fold, members=[viewed])]
    found = score_of(seen)
    gain = finish(gains.by_views(seen, found, "map_at_20"))[1]
    after, before = (each.score.outcomes["map_at_20"].value for each in (found, score_of(folds)))
    assert (gain.value, gain.difference.value) == (after, pytest.approx(after - before))
    numbers = f"map_at_20 {after:.4f}, {after - before:+.4f} ["
    assert gain.sentence.startswith(f"views flip + scale:1.5 against plain alone: {numbers}")
    assert gain.as_json()["views"] == ("flip", "scale:1.5")


def test_every_step_is_paired_with_the_same_ensemble_without_it(
    folds: list[Ensemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_individuals(monkeypatch, shared=3)

    def score_with(*steps: str) -> EnsembleScore:
        options = EnsembleOptions(rerank=steps)
        return score_of([replace(fold, options=options) for fold in folds])

    first, second = "dba:k=3,alpha=3", "local_scaling:k=5"
    both = [replace(fold, options=EnsembleOptions(rerank=(first, second))) for fold in folds]
    found = score_with(first, second)
    gains_of_steps = finish(gains.by_steps(both, found, ["map_at_20"]))[1]
    assert [gain.setting for gain in gains_of_steps] == [first, second]
    value = found.score.outcomes["map_at_20"].value
    for gain, without in zip(gains_of_steps, (score_with(second), score_with(first)), strict=True):
        before = without.score.outcomes["map_at_20"].value
        assert gain.value == value
        assert gain.difference.value == pytest.approx(value - before)
        assert gain.sentence.startswith(
            f"--rerank {gain.setting}: map_at_20 {before:.4f} without, {value:.4f} with, "
            f"{value - before:+.4f} [{gain.difference.low:+.4f}, {gain.difference.high:+.4f}]"
        )
        assert gain.as_json()["rerank"] == gain.setting
    assert any(gain.difference.value != 0 for gain in gains_of_steps)
    assert finish(gains.by_steps(folds, found, ["map_at_20"]))[1] == []


@pytest.mark.parametrize(
    ("gallery", "dims", "tried"),
    [
        (2000, 1280, (128, 256)),
        (2000, 200, (128,)),
        (300, 1280, (128,)),
        (100, 1280, (50,)),
        (100, 16, (16,)),
        (3, 16, ()),
    ],
)
def test_the_dimensions_tried_leave_half_of_the_gallery(
    gallery: int, dims: int, tried: tuple[int, ...]
) -> None:
    assert gains._dims(gallery, dims) == tried


def test_every_fold_is_whitened_on_its_own(
    folds: list[Ensemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_individuals(monkeypatch, shared=12)
    twice = [*folds, *folds]
    once = whitening(folds, "map_at_20")
    assert once is not None
    pooled = score_of(twice)
    gain = finish(gains.by_whitening(twice, pooled, ["map_at_20"]))[1]
    assert gain.difference.value == pytest.approx(once.difference.value)


@pytest.mark.parametrize(
    ("low", "high", "end"),
    [
        (0.01, 0.05, "[+0.0100, +0.0500]"),
        (-0.01, 0.05, "[-0.0100, +0.0500]; no gain is shown"),
        (0.0, 0.0, "[+0.0000, +0.0000]; no gain is shown"),
        (-0.05, -0.01, "[-0.0500, -0.0100]; it harms"),
    ],
)
def test_a_step_says_whether_it_helps(low: float, high: float, end: str) -> None:
    found = Difference(
        names=("plain", "rerank"), value=0.02, low=low, high=high, p=0.5, query_ids=strings([])
    )
    gain = Gain(kind="rerank", setting="dba", metric="map_at_20", value=0.52, difference=found)
    assert gain.sentence == (f"--rerank dba: map_at_20 0.5000 without, 0.5200 with, +0.0200 {end}")
