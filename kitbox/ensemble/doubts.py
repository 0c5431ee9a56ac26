"""Says of an ensemble's networks which they are, where that is not plain, and what to doubt."""

from collections.abc import Sequence

from kitbox.ensemble.assembly import Member
from kitbox.network.checkpoint import read_origin
from kitbox.training import lineage


def told(members: Sequence[Member]) -> list[str]:
    """Return sentences on which of several trainings are taken, and on local scores to doubt."""
    said = []
    for member in members:
        choice = lineage.choice(member.checkpoint)
        if choice is not None:
            said.append(choice)
        if read_origin(member.checkpoint.path).may_have_seen_holdout:
            said.append(
                f"warning: {member.named.name} may have seen the holdout elsewhere; its local "
                "score may be too good"
            )
    return list(dict.fromkeys(said))
