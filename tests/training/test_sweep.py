"""Sweeps: resumed, ranked by score, not stopped by a variant that fails."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.dataset.collection import collect
from kitbox.embedding import embedder
from kitbox.plugin import discovery
from kitbox.plugin.schedules import Multistep, Phase
from kitbox.plugin.variants import Budget, axis_values, combine
from kitbox.records import Embeddings, Progress, Scores, strings
from kitbox.scoring import bootstrap
from kitbox.scoring.local_score import LocalScore
from kitbox.scoring.outcomes import Mean
from kitbox.training import runs, sweep
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.training.events import EpochDone, StepDone, SweepMessage, TrainingStarted
from kitbox.training.sweep import Sweep, VariantResult
from tests.photographs import competition_on_disk, finish, named, tiny, write_plugin

OPTIONS = TrainOptions(device="cpu", precision="32", workers=0)
STEM = "test_efficientnet.r160_in1k"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedder, "_BATCH", 8)  # several batches, so that they can be timed
    workspace, competition = competition_on_disk(tmp_path)
    _, collection = finish(collect(workspace, competition))
    write_plugin(workspace, "tiny")
    return workspace, competition, collection


def sweeping(place, budget: Budget = Budget(epochs=1), seeds: int = 1, **texts: str):  # noqa: B008
    workspace, competition, collection = place
    base = discovery.load("tiny", workspace)
    axes = {name: axis_values(base.plugin, name, text) for name, text in texts.items()}
    variants = combine(base, axes, budget, seeds)
    return Sweep(budget, TrainSetup(collection, competition, workspace, OPTIONS)).run(variants)


def of_kind(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_variants_are_trained_and_scored_with_their_cost(place) -> None:
    events, results = finish(sweeping(place, image_size="32,48"))
    assert {each.name for each in results} == {f"{STEM}_{n}_tiny_epochs_1" for n in (32, 48)}
    assert len(of_kind(events, EpochDone)) == 2
    small, large = sorted(results, key=lambda each: each.name)
    assert small.cost.multiply_adds < large.cost.multiply_adds
    for each in results:
        assert each.problem is None
        assert each.plugin.epochs == 1
        assert min(each.training_seconds, each.images_per_second, each.embedding_seconds) > 0
    assert results[0].difference is None
    assert results[1].difference.names == (results[0].name, results[1].name)


def test_a_stopped_sweep_resumes_and_trains_nothing_twice(place) -> None:
    sweep_events = sweeping(place, image_size="32,48")
    started = 0
    for event in sweep_events:
        started += isinstance(event, TrainingStarted)
        if started == 2 and isinstance(event, StepDone):
            break
    sweep_events.close()
    events, results = finish(sweeping(place, image_size="32,48"))
    assert [event.plugin for event in of_kind(events, TrainingStarted)] == [
        f"{STEM}_48_tiny_epochs_1"
    ]
    again, same = finish(sweeping(place, image_size="32,48"))
    assert not of_kind(again, TrainingStarted)
    assert not any("wrote" in message.text for message in of_kind(again, SweepMessage))
    assert [each.name for each in same] == [each.name for each in results]
    assert [each.training_seconds for each in same] == [each.training_seconds for each in results]
    # all embeddings are cached: some images are embedded again to time it
    assert all(each.embedding_seconds > 0 for each in same)


def test_a_variant_that_another_process_trains_is_waited_for(place, monkeypatch) -> None:
    monkeypatch.setattr(sweep, "_POLL_SECONDS", 0.0)
    stage = sweeping(place, image_size="32")
    next(event for event in stage if isinstance(event, TrainingStarted))
    stage.close()
    [run] = place[0].runs.glob("*/*")
    stage, texts = sweeping(place, image_size="32"), []
    with runs.lock(runs.Run(run)):
        while not texts or "another process is training" not in texts[-1]:
            event = next(stage)
            texts += [event.text] if isinstance(event, SweepMessage) else []
    assert texts[-1].endswith("_32_tiny_epochs_1; waiting for it")
    _, [result] = finish(stage)
    assert result.problem is None
    assert result.score is not None


def test_the_base_plugin_needs_no_file_of_its_own(place) -> None:
    workspace = place[0]
    _, results = finish(sweeping(place, Budget(), dropout="base,0.2"))
    assert {each.name for each in results} == {"tiny", f"{STEM}_32_tiny_dropout_0.2"}
    assert len(list(workspace.plugins.glob("*.py"))) == 2


def test_a_variant_that_fails_does_not_stop_the_others(place) -> None:
    workspace = place[0]
    events, results = finish(sweeping(place, backbone="resnet10tt,base", weights="base,file"))
    problems = {each.name: each.problem for each in results if each.problem is not None}
    assert problems.pop(f"{STEM}_32_tiny_weights_file_epochs_1").startswith("there is no file")
    assert set(problems) == {
        "resnet10tt_32_tiny_epochs_1",
        "resnet10tt_32_tiny_weights_file_epochs_1",
    }
    assert set(problems.values()) == {"timm has no backbone resnet10tt; did you mean resnet10t?"}
    assert results[0].name == f"{STEM}_32_tiny_epochs_1"
    assert not list(workspace.plugins.glob("resnet*"))
    assert sum("failed" in message.text for message in of_kind(events, SweepMessage)) == 3


def test_minutes_become_epochs_that_seeds_share_and_a_second_sweep_reuses(place) -> None:
    budget = Budget(minutes=0.02)
    events, results = finish(sweeping(place, budget, seeds=2, dropout="0.1"))
    assert len({each.plugin.epochs for each in results}) == 1
    assert sum("by a few steps" in message.text for message in of_kind(events, SweepMessage)) == 1
    again, same = finish(sweeping(place, budget, seeds=2, dropout="0.1"))
    assert not of_kind(again, TrainingStarted)
    assert [each.plugin for each in same] == [each.plugin for each in results]


@pytest.mark.parametrize("batch_size", [2, 8])
def test_timing_an_epoch_leaves_no_run_behind(place, batch_size: int) -> None:
    workspace, competition, collection = place
    phases = [Phase(epochs=1, frozen_backbone=True), Phase(epochs=3, image_size=48)]
    plugin = tiny(
        epochs=4, batch_size=batch_size, phases=phases, schedule=Multistep(milestones=(1, 3))
    )
    events, seconds = finish(
        sweep.epoch_seconds(named(plugin), TrainSetup(collection, competition, workspace, OPTIONS))
    )
    assert 0 < seconds < 60
    assert all(isinstance(event, Progress) for event in events)
    assert bool(events) == (batch_size == 2)  # with few steps the second epoch is timed
    assert not list(workspace.runs.iterdir())


def test_the_pace_covers_all_epochs(tmp_path: Path) -> None:
    run = runs.Run(tmp_path)
    assert sweep.pace(run) == (0, None)
    run.log("score", epoch=0)
    run.log("epoch", epoch=1, seconds=1.0, images_per_second=100.0)
    run.log("epoch", epoch=2, seconds=3.0, images_per_second=20.0)
    assert sweep.pace(run) == (4.0, 40.0)


def scored(name: str, hits: list[int], **settings: Any) -> VariantResult:
    """Return the result of a variant that answers these queries right (1) or wrong (0)."""
    ids = strings([f"q{row}" for row in range(len(hits))])
    outcome = Mean(ids, np.array(hits, dtype=np.float64))
    individuals = dict.fromkeys(ids.tolist(), "")
    scores = Scores({"recall_at_1": bootstrap.score(outcome, individuals)})
    score = LocalScore(
        scores=scores,
        outcomes={"recall_at_1": outcome},
        thresholds={},
        evidence={},
        individuals=individuals,
    )
    return VariantResult(name=name, plugin=tiny(**settings), differs=(), score=score)


def test_the_best_comes_first_and_noise_is_not_called_a_difference() -> None:
    best, near, far = [1] * 38 + [0, 0], [1] * 37 + [0] * 3, [1] * 10 + [0] * 30
    failed = VariantResult(name="failed", plugin=tiny(), differs=(), problem="no weights")
    results = [failed, scored("far", far), scored("near", near), scored("best", best)]
    order = sweep.rank(results)
    assert [each.name for each in order] == ["best", "near", "far", "failed"]
    assert [each.difference and each.difference.significant for each in order] == [
        None,
        False,
        True,
        None,
    ]
    assert order[2].difference.value == pytest.approx(-28 / 40)


def test_if_all_fail_there_is_no_difference() -> None:
    failed = VariantResult(name="failed", plugin=tiny(), differs=(), problem="no weights")
    assert sweep.rank([failed]) == (failed,)


def test_the_seed_spread_is_the_largest_of_any_settings() -> None:
    one = [scored(f"a{seed}", [1] * (5 + seed) + [0] * (5 - seed), seed=seed) for seed in (0, 1)]
    two = [
        scored(f"b{seed}", [1] * (5 + 3 * seed) + [0] * (5 - 3 * seed), seed=seed, dropout=0.1)
        for seed in (0, 1)
    ]
    assert sweep.seed_spread([*one, *two]) == pytest.approx(0.3)
    assert sweep.seed_spread([one[0], two[1]]) is None
    assert sweep.seed_spread([replace(one[0], score=None), one[1]]) is None


def test_the_clock_of_embedding_starts_after_the_first_batch(monkeypatch) -> None:
    times = iter([50.0, 52.0, 53.0])
    monkeypatch.setattr(sweep.time, "perf_counter", lambda: next(times))
    made = Embeddings(strings(["a"]), np.array([[1, 0]], dtype=np.float32))

    def embed(*done: int):
        for each in done:
            yield Progress("embed", each, 300)
        return made

    _, (embeddings, seconds) = finish(sweep._timed(embed(64, 128, 164)))
    assert embeddings is made
    assert seconds == pytest.approx((53 - 50) / (164 - 64) * 1000)
    times = iter([5.0])
    assert finish(sweep._timed(embed(50)))[1][1] is None  # one batch includes building the network
    assert finish(sweep._timed(embed()))[1][1] is None
