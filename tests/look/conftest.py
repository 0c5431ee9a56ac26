"""A sample review shared by all tests, with a new decision session for each."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kitbox.look.review_items import Review, ReviewItem
from kitbox.look.session import DecisionSession
from kitbox.workspace import Workspace
from tests.look.browser_user import BrowserUser, served
from tests.look.sample_desk import desk_review
from tests.look.sample_review import PageClient, prepare_review, write_competition


@pytest.fixture(scope="session")
def _shared_review(tmp_path_factory: pytest.TempPathFactory) -> Review:
    return prepare_review(*write_competition(tmp_path_factory.mktemp("look")))


@pytest.fixture
def review(_shared_review: Review) -> Review:
    """Return a review without decisions; rows have no time, so that they compare equal."""
    _shared_review.session.path.unlink(missing_ok=True)
    session = DecisionSession(
        Workspace(_shared_review.session.path.parent),
        _shared_review.photographs,
        clock=lambda: "",
    )
    return replace(_shared_review, session=session)


@pytest.fixture
def session(review: Review) -> DecisionSession:
    """Return the session of the review."""
    return review.session


@pytest.fixture
def page(review: Review) -> PageClient:
    """Return a client that has opened the page of the review."""
    return PageClient(review)


@pytest.fixture
def user(tmp_path: Path, browser: Any) -> Iterator[BrowserUser]:
    """Yield a user of a page with two suspects; the browser must log no error."""
    workspace, competition = write_competition(tmp_path)
    both = ("3_1.png", "4_1.png")
    suspect = ReviewItem(
        kind="mutual", images=both, labels=("w_3", "w_4"), similarity=0.9, pairs=(both,)
    )
    split = ReviewItem(
        kind="split",
        images=tuple(f"0_{n}.png" for n in range(4)),
        labels=("w_0",),
        similarity=0.2,
        first=2,
    )
    review = replace(
        prepare_review(workspace, competition), by=("tiny",), suspects=[suspect, split]
    )
    with served(browser, review, ".cards .card") as opened:
        yield opened


@pytest.fixture
def desk_user(tmp_path: Path, browser: Any) -> Iterator[BrowserUser]:
    """Yield Anna at the matching desk; the browser must log no error."""
    workspace, competition = write_competition(tmp_path)
    with served(browser, desk_review(workspace, competition, "Anna"), ".bench .card") as opened:
        yield opened
