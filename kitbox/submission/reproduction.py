"""Makes a submission again from its receipt, and says what is equal and what differs."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from kitbox.competition.settings import Competition, ThresholdSettings
from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.ensemble import answers
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.network.checkpoint import read_checkpoint, read_origin
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint
from kitbox.submission import receipt, submission
from kitbox.training import events, runs, trainer
from kitbox.training.context import TrainOptions, TrainSetup
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """One thing of a receipt beside the same thing made again."""

    what: str
    recorded: str
    again: str

    @property
    def equal(self) -> bool:
        """Whether both are the same."""
        return self.recorded == self.again


@dataclass(frozen=True)
class Reproduction:
    """All comparisons, the CSV made again, and what a person should know beside them."""

    comparisons: tuple[Comparison, ...]
    text: str
    told: tuple[str, ...] = ()

    @property
    def same_list(self) -> bool:
        """Whether the CSV has the recorded bytes."""
        return next(c.equal for c in self.comparisons if c.what == "submission.csv")


def reproduce(
    path: Path,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    *,
    retrain: bool,
    device: str = "auto",
) -> Generator[events.TrainingEvent, None, Reproduction]:
    """Make the submission of a receipt again and compare; yields reports.

    Networks come from the recorded checkpoints, or with `retrain` from the recorded settings, and
    the rule of thresholds from the receipt; a plugin file or a kitbox.toml that has changed since
    is told. Nothing is taken from the embedding cache.

    Raises KitboxError for a receipt whose checkpoints are not here.
    """
    recorded = receipt.load(path)
    folder = path if path.is_dir() else path.parent
    options = embedder.EmbedOptions(device=device, precision=recorded["precision"], reuse=False)
    members: list[Member] = []
    scored: list[Member] = []
    for entry in recorded["plugins"]:
        named = _plugin(entry)
        made: dict[str, Checkpoint] = {}
        for on in dict.fromkeys(("holdout", entry["trained_on"])):
            side = receipt.entry_of_side(entry, on)
            if retrain:
                made[on] = yield from _retrained(
                    named, side, on, collection, competition, workspace, device, folder
                )
            else:
                made[on] = _recorded(workspace, named, side["checkpoint"])
        scored.append(Member(named, made["holdout"], entry["weight"]))
        members.append(Member(named, made[entry["trained_on"]], entry["weight"]))
    recipe = receipt.recipe_of(recorded)
    asked = _with_threshold(competition, recorded)
    locally = yield from answers.score(scored, recipe, collection, asked, workspace, options)
    fitted = locally.score.thresholds
    again = yield from submission.make_submission(
        members, recipe, fitted, collection, asked, workspace, options, locally.judge
    )
    comparisons = [
        *_compare("competition", recorded["competition"], _settings(asked, recorded)),
        *_compare("data", recorded["data"], receipt.data_digests(collection)),
        *_compare("version", recorded["versions"], receipt.package_versions()),
        *_plugin_comparisons(recorded, workspace),
        *_checkpoint_comparisons(recorded, members),
        *_checkpoint_comparisons(recorded, scored, "scored "),
        *_compare("threshold", recorded.get("thresholds", {}), again.thresholds),
        *_compare("score", _values(recorded["scores"]), _values(locally.score.scores.as_json())),
        Comparison(
            "submission.csv", recorded["csv"]["sha256"], sha256(again.text.encode()).hexdigest()
        ),
    ]
    return Reproduction(tuple(comparisons), again.text, _of_threshold(competition, asked))


def rows_that_differ(text: str, other: str) -> int:
    """Return how many lines of two lists differ."""
    ours, theirs = text.splitlines(), other.splitlines()
    differing = sum(a != b for a, b in zip(ours, theirs, strict=False))
    return differing + abs(len(ours) - len(theirs))


def _with_threshold(competition: Competition, recorded: dict[str, Any]) -> Competition:
    """Return the competition with the rule of the receipt, which --threshold may have set."""
    rule = recorded["competition"].get("threshold")
    if rule is None:
        return competition
    return competition.model_copy(update={"threshold": ThresholdSettings.model_validate(rule)})


def _settings(asked: Competition, recorded: dict[str, Any]) -> Any:
    """Return the settings of today without those that are newer than the receipt and not set.

    By its default a newer setting does what was done before there was one.
    """
    set_now = asked.model_dump(mode="json", exclude_defaults=True)
    return _without_news(receipt.competition_settings(asked), recorded["competition"], set_now)


def _without_news(now: Any, then: Any, set_now: Any) -> Any:
    """Return values of today without those that are neither of then nor set."""
    if not isinstance(now, dict) or not isinstance(then, dict):
        return now
    known = set_now if isinstance(set_now, dict) else {}
    return {
        key: _without_news(value, then.get(key), known.get(key))
        for key, value in now.items()
        if key in then or key in known
    }


def _of_threshold(competition: Competition, asked: Competition) -> tuple[str, ...]:
    """Tell where the rule of kitbox.toml is not the receipt's, which was applied."""
    if asked.threshold == competition.threshold:
        return ()
    applied, today = _shown(asked.threshold), _shown(competition.threshold)
    return (f"the receipt's threshold was applied ({applied}); kitbox.toml has another ({today})",)


def _shown(threshold: ThresholdSettings) -> str:
    values = {"rule": threshold.rule} | threshold.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _plugin(entry: dict[str, Any]) -> NamedPlugin:
    plugin = Plugin.model_validate(entry["settings"])
    return NamedPlugin(entry["name"], plugin, None, "receipt")


def _recorded(workspace: Workspace, named: NamedPlugin, digest: str) -> Checkpoint:
    for file in sorted((workspace.runs / named.name).glob("*/*.safetensors")):
        if digest_of_file(file) == digest:
            return read_checkpoint(file)
    raise KitboxError(
        f"the checkpoint {digest[:12]} of {named.name} is not in {workspace.runs / named.name}; "
        "copy it there, or train it again with --retrain"
    )


def _retrained(
    named: NamedPlugin,
    entry: dict[str, Any],
    on: str,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    device: str,
    folder: Path,
) -> Generator[events.TrainingEvent, None, Checkpoint]:
    """Train anew in a place of its own, so that the recorded checkpoint stays what it is."""
    apart = replace(workspace, cache_name=".kitbox/reproduced")
    given = entry["weights"]
    plain = given in ("hub", "none")
    begun = entry.get("init_from") is not None and not plain
    options = TrainOptions(
        on=on,
        init_from=str(_begun_from(workspace, named, given)) if begun else None,
        pseudo=_learnt_beside(workspace, named, entry.get("pseudo_labels"), folder),
        weights=given if plain else None,
        seed=entry["seed"],
        precision=entry["precision"],
        device=device,
        fresh=True,
    )
    last = yield from trainer.train(named, TrainSetup(collection, competition, apart, options))
    best = last.path.with_stem("best")
    return read_checkpoint(best) if entry["which"] == "best" and best.exists() else last


def _learnt_beside(
    workspace: Workspace, named: NamedPlugin, digest: str | None, folder: Path
) -> Path:
    """Return the pseudo-labels that a network learnt from: beside its receipt, or in its run."""
    beside = receipt.SubmissionFolder(folder).pseudo_labels(digest or "none")
    kept = None if digest is None else runs.find_pseudo_labels(workspace, named.name, digest)
    if digest is None or beside.is_file():
        return beside  # where there were none there is no file
    if kept is None:
        raise KitboxError(
            f"{named.name} learnt from pseudo-labels that are neither {beside} nor in "
            f"{workspace.runs / named.name}; copy them to the former"
        )
    return kept


def _begun_from(workspace: Workspace, named: NamedPlugin, digest: str) -> Path:
    """Return the checkpoint that a network went on from."""
    found = runs.find_init_checkpoint(workspace, named.name, digest)
    if found is None:
        raise KitboxError(
            f"{named.name} went on from the checkpoint {digest[:12]}, which is neither in "
            f"{workspace.runs} nor where it was; copy it to {workspace.weights}"
        )
    return found


def _compare(what: str, recorded: Any, again: Any) -> list[Comparison]:
    """Return a comparison of each leaf of two nested values."""
    if isinstance(recorded, dict) and isinstance(again, dict):
        return [
            comparison
            for key in sorted({*recorded, *again})
            for comparison in _compare(f"{what} {key}".rstrip(), recorded.get(key), again.get(key))
        ]
    return [Comparison(what, str(recorded), str(again))]


def _plugin_comparisons(recorded: dict[str, Any], workspace: Workspace) -> list[Comparison]:
    """Hold each recorded plugin against the file that has its name today."""
    found = []
    for entry in recorded["plugins"]:
        try:
            today = discovery.load(entry["name"], workspace).plugin.fingerprint
        except KitboxError as error:
            today = str(error)
        found.append(Comparison(f"plugin {entry['name']}", entry["fingerprint"], today))
    return found


def _checkpoint_comparisons(
    recorded: dict[str, Any], members: list[Member], prefix: str = ""
) -> list[Comparison]:
    """Hold the networks made again against those of one side of a receipt."""
    found = []
    for entry, member in zip(recorded["plugins"], members, strict=True):
        if prefix and entry["trained_on"] == "holdout":
            continue  # the same network serves both sides
        side = receipt.entry_of_side(entry, member.checkpoint.on)
        origin = read_origin(member.checkpoint.path)
        for what, then, now in (
            ("backbone weights", side["weights"], origin.weights),
            ("pseudo-labels", side.get("pseudo_labels"), origin.pseudo),
            ("checkpoint", side["checkpoint"], member.checkpoint.digest),
        ):
            found.append(Comparison(f"{prefix}{what} {entry['name']}", str(then), str(now)))
    return found


def _values(scores: dict[str, Any]) -> dict[str, Any]:
    return {name: score["value"] for name, score in scores.items()}
