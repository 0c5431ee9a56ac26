"""A matching desk of drawn photographs whose embeddings are points on the unit circle."""

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.look.desk import prepare_desk
from kitbox.look.photographs import Photographs
from kitbox.look.review_items import Review
from kitbox.look.session import DecisionSession, ReviewState
from kitbox.records import Embeddings
from kitbox.workspace import Workspace
from tests.look.sample_review import HOSTILE_ID, load_photographs

# Degrees; photograph n of individual i is at 50 i + n, the test photograph n at 50 n + 10.
ANGLES = {
    "copy.png": 0.5, "conflict.png": 100.5, "unknown.png": 25.0, HOSTILE_ID: 330.0,
    "t_0.png": 2.0, "t_1.png": 25.6,
}  # fmt: skip


def angle(image_id: str) -> float:
    """Return the angle of an image in degrees."""
    if image_id in ANGLES:
        return ANGLES[image_id]
    first, second = image_id.removesuffix(".png").split("_")
    return 50.0 * int(second) + 10 if first == "t" else 50.0 * int(first) + int(second)


def circle_embeddings(photographs: Photographs) -> Embeddings:
    """Return the embeddings of all readable photographs."""
    radians = np.radians([angle(image_id) for image_id in photographs.readable.tolist()])
    vectors = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    return Embeddings(photographs.readable, vectors)


def desk_review(workspace: Workspace, competition: Competition, by: str) -> Review:
    """Return a review of a competition with a person at its desk, and nothing else to decide."""
    photographs = load_photographs(workspace, competition)
    return at_desk(DecisionSession(workspace, photographs, by))


def at_desk(session: DecisionSession) -> Review:
    """Return a review with the desk of a session."""
    embeddings = circle_embeddings(session.photographs)
    state: ReviewState = session.state
    return Review(
        name="humpback",
        by=("circle",),
        embeddings=embeddings,
        suspects=[],
        duplicates=[],
        session=session,
        desk=prepare_desk(embeddings, state, None),
    )
