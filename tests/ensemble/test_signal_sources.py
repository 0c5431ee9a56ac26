"""What the signals of an ensemble's pairs are made of."""

from dataclasses import replace

import numpy as np

from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import combination
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.meta_embedding import MetaEmbedding
from kitbox.records import strings
from tests.circle import competition, graph_of, image_set, placed
from tests.submission.collected import collection, unlabelled

LABELS = {"a": "Ahab", "b": "Boo", "n": "new_whale"}


def test_features_are_made_of_columns_that_the_test_has_and_keypoints_of_all_boxes(  # type: ignore[no-untyped-def]
    workspace,
) -> None:
    toy = competition()
    boxes = np.tile(np.array([0, 0, 9, 9], dtype=np.float32), (3, 1))
    train = replace(image_set(LABELS), boxes=boxes, times=np.zeros(3))
    test = replace(unlabelled("x"), times=np.zeros(1))
    graph = graph_of(placed({"x": 5}), placed({"a": 0, "b": 50, "n": 90}))
    sources = combination.signal_sources(
        Ensemble(
            collection=collection(toy, train, test),
            competition=toy,
            workspace=workspace,
            embed_options=EmbedOptions(workers=3, device="cpu"),
        ),
        MetaEmbedding(graph.embeddings, ()),
        [graph],
        train,
        train,
    )
    assert (sources.match_options.workers, sources.match_options.device) == (3, "cpu")
    assert sources.metadata == ("times",)
    assert sources.images.boxes is boxes
    # nothing is known of the individuals of the unknown label
    assert sources.known.image_ids.tolist() == strings(["a", "b"]).tolist()
