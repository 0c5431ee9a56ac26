"""What a page of results is asked about: plugins by name, or those of a submission's receipt."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from kitbox.ensemble.assembly import Member
from kitbox.errors import KitboxError
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.settings import Plugin
from kitbox.submission import receipt
from kitbox.submission.making import Recipe
from kitbox.submission.standing import resolve, standings
from kitbox.workspace import Workspace

# A file's name may have 255 bytes; names of many plugins are cut.
_LONGEST = 80
_WAYS: dict[str, list[str]] = {
    "embeddings": [],
    "labels": ["Labels are ranked by the mean of the members' similarities."],
    "classifier": ["Labels are ranked by a classifier of the joined embeddings."],
}


@dataclass(frozen=True)
class Asked:
    """Plugins, and how they are put together; `name` is the page's, `recorded` the receipt's."""

    name: str
    plugins: tuple[NamedPlugin, ...]
    weights: tuple[float, ...] | None
    recipe: Recipe
    threshold: str | None
    checkpoint: str
    recorded: dict[str, Any] | None = None

    def told(self, members: Sequence[Member], fold: int) -> list[str]:
        """Return what a reader should know of where the page comes from."""
        told = [] if fold == 1 else [f"Fold {fold} of the holdout."]
        if self.recipe.whiten is not None:
            told.append(f"Each member is whitened to {self.recipe.whiten} dimensions.")
        told += _WAYS[self.recipe.way.combine]
        if self.recipe.way.new_label == "learned":
            told.append("Unknown individuals are told by a judge fitted to other queries.")
        if self.checkpoint == "best":
            told.append("By the checkpoints that were best on this very holdout, which flatters.")
        if self.recorded is None:
            return told
        told.append(f"Submission {self.name}, asked of the local holdout.")
        entries = zip(self.recorded["plugins"], members, strict=True)
        others = [e["name"] for e, m in entries if e["scored_checkpoint"] != m.checkpoint.digest]
        if others:
            told.append(f"Trained again since, so that scores may differ: {', '.join(others)}.")
        return told


def of_names(
    names: Sequence[str],
    workspace: Workspace,
    weights: Sequence[float] | None,
    recipe: Recipe,
    threshold: str | None,
    checkpoint: str,
) -> Asked:
    """Return what is asked for: plugins of these names, or the submission that one word names.

    Raises KitboxError for names that are neither, and for what a submission's
    receipt says already.
    """
    try:
        plugins = tuple(discovery.load(name, workspace) for name in names)
    except KitboxError as error:
        found = _submission(names, workspace)
        if found is None and len(names) == 1 and names[0] not in discovery.names(workspace):
            raise KitboxError(
                f"{error}; nor is it a submission, 'kitbox leaderboard' lists submissions"
            ) from error
        if found is None:
            raise
        if weights is not None or recipe != Recipe() or threshold is not None:
            raise KitboxError(
                f"{found.name} has its weights, whitening, way and threshold in its receipt; "
                "leave the options out"
            ) from None
        return found
    name, way = "+".join(names), recipe.way
    marked = [f"w{':'.join(f'{w:g}' for w in weights)}"] if weights else []
    marked += [f"whiten{recipe.whiten}"] if recipe.whiten else []
    marked += [f"{way.combine}{way.dims or ''}"] if way.combine != "embeddings" else []
    marked += [way.new_label] if way.new_label != "threshold" else []
    marked += [f"threshold{threshold}"] if threshold else []
    marked += [checkpoint] if checkpoint != "last" else []
    given = None if weights is None else tuple(weights)
    shown = file_name("_".join([name, *marked]))
    return Asked(shown, plugins, given, recipe, threshold, checkpoint)


def file_name(name: str) -> str:
    """Return a name as part of a file's: short, and without what a file system minds."""
    plain = "".join(c if c.isalnum() or c in "+-_.=" else "-" for c in name)
    if len(plain) <= _LONGEST:
        return plain
    return f"{plain[:_LONGEST]}_{sha256(name.encode()).hexdigest()[:8]}"


def _submission(names: Sequence[str], workspace: Workspace) -> Asked | None:
    if len(names) != 1:
        return None
    known = standings(workspace)
    ended = [submission for submission in known if submission.endswith(f"_{names[0]}")]
    try:
        name = ended[0] if len(ended) == 1 else resolve(names[0], known).submission
    except KitboxError:
        return None
    recorded = receipt.read(workspace.submissions / name)
    entries = recorded["plugins"]
    return Asked(
        name,
        tuple(
            NamedPlugin(e["name"], Plugin.model_validate(e["settings"]), None, "receipt")
            for e in entries
        ),
        tuple(float(entry["weight"]) for entry in entries),
        receipt.recipe_of(recorded),
        _threshold(recorded),
        "best" if any(entry["which"] == "best" for entry in entries) else "last",
        recorded,
    )


def _threshold(recorded: dict[str, Any]) -> str | None:
    """Return the receipt's rule as --threshold says it; None where there is none to say."""
    if not recorded.get("threshold_evidence"):
        return None
    rule = recorded["competition"].get("threshold", {})
    match rule.get("rule"):
        case "fixed":
            return str(rule["similarity"])
        case "share":
            return f"{100 * rule['share']:.10g}%"
        case _:
            return "best"
