"""Writes a ranking as the competition's CSV."""

import csv
import io

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Ranking


def text(ranking: Ranking, competition: Competition) -> str:
    """Return the CSV of a ranking: the competition's header, a row a query, line feeds.

    Raises KitboxError for an answer that the form cannot hold.
    """
    form = competition.submission
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    if form.header:
        writer.writerow(form.header)
    for query_id, answers in zip(ranking.query_ids, ranking.answers, strict=True):
        given = [str(answer) for answer in answers if answer]
        if form.layout == "joined":
            spaced = next((answer for answer in given if " " in answer), None)
            if spaced is not None:
                raise KitboxError(
                    f"answer '{spaced}' has a blank, which separates answers in this form; "
                    'rename it, or set layout = "columns" in kitbox.toml'
                )
            given = [" ".join(given)]
        writer.writerow([query_id, *given])
    return written.getvalue()
