"""Makes a submission again from its receipt, and compares both."""

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitbox.competition.settings import Competition, ThresholdSettings
from kitbox.dataset.collection import Collection
from kitbox.embedding import imported_embeddings
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble import answers
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import ImportedMember, Member, NetworkMember
from kitbox.errors import KitboxError
from kitbox.files import digest_of_file, temporary_folder
from kitbox.keypoints.matcher import matcher_sources
from kitbox.network import inference
from kitbox.network.checkpoint import read_checkpoint, read_origin
from kitbox.plugin import discovery, source_code
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint
from kitbox.submission import receipt, submission
from kitbox.training import events, runs
from kitbox.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds to import, and embeddings of others need no network
    from kitbox.training.context import TrainSetup


@dataclass(frozen=True)
class Comparison:
    """A value of a receipt beside the same value made again."""

    what: str
    recorded: str
    again: str

    @property
    def equal(self) -> bool:
        """Whether both are the same."""
        return self.recorded == self.again


@dataclass(frozen=True)
class Reproduction:
    """All comparisons, the CSV made again, and sentences about the settings."""

    comparisons: tuple[Comparison, ...]
    text: str
    notes: tuple[str, ...] = ()

    @property
    def same_csv(self) -> bool:
        """Whether the CSV has the recorded bytes."""
        return next(c.equal for c in self.comparisons if c.what == "submission.csv")


@contextmanager
def empty_cache(workspace: Workspace) -> Iterator[Workspace]:
    """Yield a workspace with an empty cache, which is removed afterwards.

    It keeps which engine a network was found to be faster with: that decides the last digits.
    """
    with temporary_folder(workspace.cache / "reproduced" / "cache") as folder:
        fresh = replace(workspace, cache_name=str(folder.relative_to(workspace.root)))
        fresh.engines.mkdir()
        for choice in workspace.engines.glob("*.json"):
            shutil.copy(choice, fresh.engines)
        yield fresh


def reproduce(
    path: Path,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    *,
    retrain: bool,
    trust: bool = False,
    device: str = "auto",
) -> Generator[events.TrainingEvent, None, Reproduction]:
    """Make the submission of a receipt again and compare it; yields the events of trainings.

    Networks come from the recorded checkpoints, or with `retrain` from the recorded settings. The
    threshold rule is the receipt's; a note tells if kitbox.toml has another one. No cache of the
    workspace is read: pixels, vectors, keypoints and matches are all made again. Code of users that
    no plugin of the workspace names is run only with `trust`, which writes its files there.

    Raises KitboxError for a receipt whose checkpoints are missing, and for such code.
    """
    recorded = receipt.load(path)
    notes = _admit_code(recorded, path, workspace, trust=trust)
    folder = path if path.is_dir() else path.parent
    # apart from the workspace's own runs, so that the recorded checkpoints are not replaced
    apart = replace(workspace, cache_name=".kitbox/reproduced")
    members: list[Member] = []
    scored: list[Member] = []
    local = ("holdout",) if recorded["scores"] else ()  # else there was no holdout
    for entry in recorded["plugins"]:
        if "imported" in entry:
            member: Member = replace(_imported(entry, workspace), whiten=entry.get("whiten"))
            members.append(member)
            scored += [member for _ in local]
            continue
        named = receipt.recorded_plugin(entry)
        networks: dict[str, Checkpoint] = {}
        for on in dict.fromkeys((*local, entry["trained_on"])):
            side = receipt.entry_of_side(entry, on)
            kept = None if retrain else _recorded(workspace, named, side)
            if kept is None:
                from kitbox.training.context import TrainOptions, TrainSetup

                training = TrainOptions(on=on, device=device, fresh=True)
                setup = TrainSetup(collection, competition, apart, training)
                networks[on] = yield from _retrain(named, side, setup, workspace, folder)
            else:
                networks[on] = kept
        weight, whiten = entry["weight"], entry.get("whiten")
        scored += [NetworkMember(weight, named, networks[on], whiten=whiten) for on in local]
        members.append(NetworkMember(weight, named, networks[entry["trained_on"]], whiten=whiten))
    applied = _with_threshold(competition, recorded)
    with empty_cache(workspace) as fresh:
        ensemble = Ensemble(
            members=members,
            collection=collection,
            competition=applied,
            workspace=fresh,
            options=receipt.ensemble_options(recorded),
            embed_options=EmbedOptions(
                device=device,
                precision=_precision(recorded, device),
                engine=recorded.get("engine", "torch"),  # all that there was
                reuse=False,
            ),
        )
        locally = None
        if local:
            locally = yield from answers.score(replace(ensemble, members=scored))
            thresholds, unknown_model = locally.score.thresholds, locally.unknown_model
            fusion_model = locally.fusion_model
        else:
            thresholds, unknown_model, fusion_model = recorded["thresholds"], None, None
        again = yield from submission.make_submission(
            ensemble, thresholds, unknown_model, fusion_model
        )
    comparisons = [
        *_compare("competition", recorded["competition"], receipt.competition_settings(applied)),
        *_compare("data", recorded["data"], receipt.data_digests(collection)),
        *_compare("version", recorded["versions"], receipt.package_versions()),
        *_compare("matcher", recorded.get("matchers", {}), matcher_sources(ensemble.options.match)),
        *_plugin_comparisons(recorded, workspace),
        *_checkpoint_comparisons(recorded, members),
        *(_checkpoint_comparisons(recorded, scored, "scored ") if local else ()),
        *_compare("threshold", recorded["thresholds"], again.thresholds),
        *_compare(
            "score",
            _values(recorded["scores"]),
            _values(locally.score.scores.as_json(receipt.DIGITS)) if locally else {},
        ),
        Comparison(
            "submission.csv", recorded["csv"]["sha256"], sha256(again.text.encode()).hexdigest()
        ),
    ]
    notes += _threshold_notes(competition, applied)
    return Reproduction(tuple(comparisons), again.text, notes)


def _precision(recorded: dict[str, Any], device: str) -> str:
    """Return the precision of a receipt, as "auto" where that is the same here.

    Beside a precision that is named, the engine would be torch alone.
    """
    named: str = recorded["precision"]
    usual = inference.resolve_precision("auto", inference.resolve_device(device))
    return "auto" if recorded.get("engine") == "auto" and named == usual else named


def rows_that_differ(text: str, other: str) -> int:
    """Return the number of lines in which two CSVs differ."""
    ours, theirs = text.splitlines(), other.splitlines()
    differing = sum(a != b for a, b in zip(ours, theirs, strict=False))
    return differing + abs(len(ours) - len(theirs))


def _with_threshold(competition: Competition, recorded: dict[str, Any]) -> Competition:
    """Return the competition with the threshold rule of the receipt, which --threshold may set."""
    rule = ThresholdSettings.model_validate(recorded["competition"]["threshold"])
    return competition.model_copy(update={"threshold": rule})


def _threshold_notes(here: Competition, applied: Competition) -> tuple[str, ...]:
    """Return a sentence if the rule of kitbox.toml is not the receipt's, which was applied."""
    if applied.threshold == here.threshold:
        return ()
    rule, other = _describe(applied.threshold), _describe(here.threshold)
    return (f"the receipt's threshold was applied ({rule}); kitbox.toml has another ({other})",)


def _describe(threshold: ThresholdSettings) -> str:
    values = {"rule": threshold.rule} | threshold.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _admit_code(
    recorded: dict[str, Any], path: Path, workspace: Workspace, *, trust: bool
) -> tuple[str, ...]:
    """Let the code of users that a receipt needs be run; return sentences about files written.

    Raises KitboxError for code that no plugin of the workspace names, unless it is trusted.
    """
    plugins = [
        receipt.recorded_plugin(entry).plugin
        for entry in recorded["plugins"]
        if "settings" in entry
    ]
    discovery.read_code(plugins, workspace)
    written: list[Path] = []
    for plugin in plugins:
        missing = source_code.lacking(plugin.references, plugin.code)
        if not missing:
            continue
        if not trust:
            raise KitboxError(
                f"the receipt runs code of somebody else: {', '.join(missing)}",
                where=str(path),
                fix=f'read it under "code" in the receipt; --trust writes it to {workspace.root} '
                "and runs it",
            )
        texts = recorded.get("code", {})
        written += source_code.trust(plugin.references, plugin.code, texts, workspace.root)
    return tuple(f"wrote {file}, as the receipt has it" for file in written)


def _imported(entry: dict[str, Any], workspace: Workspace) -> ImportedMember:
    """Return imported embeddings; raises KitboxError where those of the receipt are not here."""
    name, recorded = entry["name"], entry["imported"]
    files = " and ".join(recorded["files"])
    found = None
    if name in imported_embeddings.names(workspace):
        found = imported_embeddings.load(name, workspace)
    if found is None or found.digest != entry["checkpoint"]:
        others = "nothing of that name is here" if found is None else "those here are others"
        raise KitboxError(
            f"{name} is embeddings {entry['checkpoint'][:12]} imported from {files}, and {others}",
            fix=f"run 'kitbox embeddings import {' '.join(recorded['files'])} --name {name}"
            f"{'' if found is None else ' --replace'}'",
        )
    return ImportedMember(entry["weight"], found)


def _recorded(workspace: Workspace, named: NamedPlugin, entry: dict[str, Any]) -> Checkpoint | None:
    """Return the checkpoint of an entry, from the plugin's runs.

    None for a frozen plugin whose network is not there: it is built again.
    """
    digest = entry["checkpoint"]
    for file in sorted((workspace.runs / named.name).glob("*/*.safetensors")):
        if digest_of_file(file) == digest:
            return read_checkpoint(file)
    if named.plugin.frozen and entry.get("init_from") is None:
        return None
    raise KitboxError(
        f"the checkpoint {digest[:12]} of {named.name} is not in {workspace.runs / named.name}; "
        "copy it there, or train it again with --retrain"
    )


def _retrain(
    named: NamedPlugin, entry: dict[str, Any], setup: "TrainSetup", source: Workspace, folder: Path
) -> Generator[events.TrainingEvent, None, Checkpoint]:
    """Train a network again from the recorded settings.

    What it started from is taken from the workspace `source` and the submission's `folder`.
    """
    from kitbox.training import trainer

    weights = entry["weights"]
    plain = weights in ("hub", "none")
    transferred = entry.get("init_from") is not None and not plain
    options = replace(
        setup.options,
        init_from=str(_init_checkpoint(source, named, weights)) if transferred else None,
        pseudo=_pseudo_labels(source, named, entry.get("pseudo_labels"), folder),
        weights=weights if plain else None,
        seed=entry["seed"],
        precision=entry["precision"],
    )
    last = yield from trainer.train(named, replace(setup, options=options))
    best = last.path.with_stem("best")
    return read_checkpoint(best) if entry["which"] == "best" and best.exists() else last


def _pseudo_labels(
    workspace: Workspace, named: NamedPlugin, digest: str | None, folder: Path
) -> Path:
    """Return the file of the pseudo-labels with a digest: beside the receipt, or in a run.

    The file does not exist where the network was trained without pseudo-labels.
    """
    beside = receipt.SubmissionFolder(folder).pseudo_labels(digest or "none")
    kept = None if digest is None else runs.find_pseudo_labels(workspace, named.name, digest)
    if digest is None or beside.is_file():
        return beside
    if kept is None:
        raise KitboxError(
            f"{named.name} was trained on pseudo-labels that are neither {beside} nor in "
            f"{workspace.runs / named.name}; copy them to the former"
        )
    return kept


def _init_checkpoint(workspace: Workspace, named: NamedPlugin, digest: str) -> Path:
    """Return the checkpoint that a network started from."""
    found = runs.find_init_checkpoint(workspace, named.name, digest)
    if found is None:
        raise KitboxError(
            f"{named.name} started from the checkpoint {digest[:12]}, which is neither in "
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
    """Compare each recorded plugin with the file that has its name now."""
    found = []
    for entry in recorded["plugins"]:
        if "imported" in entry:
            continue  # no file determines them
        try:
            now = discovery.load(entry["name"], workspace).plugin.fingerprint
        except KitboxError as error:
            now = str(error)
        found.append(Comparison(f"plugin {entry['name']}", entry["fingerprint"], now))
    return found


def _checkpoint_comparisons(
    recorded: dict[str, Any], members: list[Member], prefix: str = ""
) -> list[Comparison]:
    """Compare the networks with those of one side of a receipt."""
    found = []
    for entry, member in zip(recorded["plugins"], members, strict=True):
        if prefix and entry["trained_on"] == "holdout":
            continue  # the same network was scored
        if member.checkpoint is None:
            what = f"{prefix}embeddings {entry['name']}"
            found.append(Comparison(what, entry["checkpoint"], member.digest))
            continue
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
