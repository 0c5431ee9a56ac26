"""The receipt of a submission: everything it was made from, and its local score."""

import platform
import subprocess
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

import kitbox
from kitbox.competition import protocol
from kitbox.competition.settings import Competition, ThresholdSettings
from kitbox.dataset.collection import Collection
from kitbox.embedding import imported_embeddings
from kitbox.ensemble import answers, members
from kitbox.ensemble.answers import EnsembleScore
from kitbox.ensemble.ensemble import Combine, Ensemble, EnsembleOptions, UnknownRule
from kitbox.ensemble.members import Member, MemberSource, Whitening
from kitbox.ensemble.recipe import Recipe, RecipeMember
from kitbox.errors import KitboxError
from kitbox.files import digest_of, read_json, write_bytes, write_json, write_text
from kitbox.keypoints.matcher import matcher_sources
from kitbox.network import inference
from kitbox.network.checkpoint import read_origin
from kitbox.plugin import source_code
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, ImageSet, Progress
from kitbox.submission import ledger
from kitbox.submission.ledger import ReceiptSummary, RecordedMember
from kitbox.submission.submission import (
    Submission,
    check_top_k,
    make_submission,
    unfitted_thresholds,
)
from kitbox.training import runs
from kitbox.training.runs import data_digest
from kitbox.value import Recorded, check
from kitbox.workspace import Workspace

# Packages whose release may change a vector or a score.
PACKAGES = (
    "albumentations",
    "faiss-cpu",
    "imagehash",
    "lightning-fabric",
    "numpy",
    "pillow",
    "pytorch-metric-learning",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
)
_LONGEST_NAME = 80
# Digits of a score in a receipt: the order of summation changes those after them.
DIGITS = 6
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Precision = Literal["32", "bf16", "16"]


class _Imported(Recorded):
    files: dict[str, str]


class _Network(Recorded):
    """What is recorded of a network alone."""

    fingerprint: _Digest
    settings: dict[str, Any]
    weights: str
    seed: int = Field(ge=0)
    precision: _Precision
    which: str
    init_from: str | None = None
    pseudo_labels: _Digest | None = None
    scored_weights: str | None = None
    scored_seed: int | None = Field(default=None, ge=0)
    scored_precision: _Precision | None = None
    scored_which: str | None = None
    scored_init_from: str | None = None
    scored_pseudo_labels: _Digest | None = None


class _Entry(RecordedMember):
    """What is recorded of every member."""

    checkpoint: _Digest
    scored_checkpoint: _Digest | None = None
    trained_on: Literal["holdout", "all", "none", "elsewhere"]
    weight: float = Field(gt=0)
    whiten: int | None = Field(default=None, ge=2)
    views: list[str] = Field(default=[])
    imported: _Imported | None = None


class _Method(Recorded):
    combine: Combine
    dims: int | None = Field(ge=2)
    new_label: UnknownRule
    rerank: list[str] = Field(default=[])
    match: list[str] = Field(default=[])
    fusion: str | None = None
    balance: str | None = None


class _Task(Recorded):
    k: int


class _Threshold(Recorded):
    rule: str


class _Competition(Recorded):
    threshold: _Threshold
    task: _Task


class _Receipt(ReceiptSummary):
    """The form of a receipt, so far as it is read."""

    competition: _Competition
    plugins: list[_Entry] = Field(min_length=1)  # type: ignore[assignment]
    whiten: int | None = Field(ge=2)
    way: _Method
    top_k: int = Field(ge=1)
    thresholds: dict[str, float]
    threshold_evidence: dict[str, Any] = Field(default={})
    data: dict[str, Any]
    versions: dict[str, str]
    matchers: dict[str, Any] = Field(default={})
    precision: _Precision
    engine: Literal["auto", "torch", "onnx"] = "torch"
    code: dict[str, str] = Field(default={})
    recipe: str = ""


@dataclass(frozen=True)
class SubmissionFolder:
    """The folder of a submission on disk."""

    folder: Path

    @property
    def csv(self) -> Path:
        """The file for the leaderboard."""
        return self.folder / "submission.csv"

    @property
    def receipt(self) -> Path:
        """The receipt."""
        return self.folder / "receipt.json"

    def pseudo_labels(self, digest: str) -> Path:
        """Return the path of the pseudo-labels with this digest that its networks used."""
        return self.folder / f"pseudo_{digest[:12]}.csv"


def describe(
    submission: Submission,
    ensemble: Ensemble,
    score: EnsembleScore | None,
    scored: Sequence[Member],
    *,
    precision: str,
    note: str = "",
    missing: str | None = None,
    recipe: str = "",
) -> dict[str, Any]:
    """Return the receipt of a submission.

    `ensemble` answered its queries; `scored` are members of the same plugins whose networks have
    not seen the holdout, and `score` is theirs. Without a holdout there are none, and `missing`
    says why.
    """
    competition, options = ensemble.competition, ensemble.options
    plugins = []
    for row, (member, dim) in enumerate(zip(ensemble.members, submission.dims, strict=True)):
        local = scored[row] if score else member
        entry = member.as_json(dim) | {"trained_on": member.on}
        if score:
            entry |= {"scored_checkpoint": local.digest}
            entry |= {"may_have_seen_holdout": True} if local.holdout_warning else {}
        if member.checkpoint is not None and local.checkpoint is not None:
            entry |= _origins(member.checkpoint, local.checkpoint)
        plugins.append(entry)
    code = {
        name: text
        for entry in plugins
        for name, text in source_code.texts(entry.get("settings", {}).get("code", {})).items()
    }
    return {
        "kitbox": kitbox.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "competition": competition_settings(competition),
        "plugins": plugins,
        **({"code": code} if code else {}),
        "dim": sum(submission.dims),
        "whiten": options.whiten,
        "way": options.method_json(),
        **({"recipe": recipe} if recipe else {}),
        "top_k": options.top_k or competition.task.k,
        "thresholds": submission.thresholds,
        "threshold_evidence": score.score.evidence if score else {},
        **(
            {"threshold_note": sentence}
            if (sentence := options.threshold_note(competition))
            else {}
        ),
        **({"pairs": submission.pairs} if submission.pairs else {}),
        **({"index_recall": list(recalls)} if (recalls := submission.index_recall) else {}),
        **({"fusion": score.fusions[0]} if score and score.fusions else {}),
        "queries": submission.queries,
        "gallery": submission.gallery,
        "metric": competition.metric,
        "scores": score.score.scores.as_json(DIGITS) if score else {},
        **({"no_local_score": missing} if missing else {}),
        "data": data_digests(ensemble.collection),
        "csv": {
            "file": "submission.csv",
            "sha256": sha256(submission.text.encode()).hexdigest(),
            "rows": submission.text.count("\n"),
        },
        "precision": precision,
        "engine": ensemble.embed_options.engine,
        "versions": package_versions(),
        **({"matchers": matchers} if (matchers := matcher_sources(options.match)) else {}),
        "git": git_state(ensemble.workspace.root),
    }


def _origin(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a network was trained from; None for what was not used."""
    origin = read_origin(checkpoint.path)
    return {
        "weights": origin.weights,
        "seed": origin.seed,
        "precision": origin.precision,
        "which": checkpoint.path.stem,
        "init_from": origin.init_from,
        "pseudo_labels": origin.pseudo,
        "pseudo_round": origin.pseudo_round or None,
    }


def _origins(member: Checkpoint, scored: Checkpoint) -> dict[str, Any]:
    """Return the origin of a network, and where that of the scored one differs, as `scored_*`."""
    own, local = _origin(member), _origin(scored)
    given = {name: value for name, value in own.items() if value is not None}
    given |= {"settings": read_origin(member.path).settings, "epoch": member.epoch}
    others = {f"scored_{name}": value for name, value in local.items() if value != own[name]}
    return given | others


def competition_settings(competition: Competition) -> dict[str, Any]:
    """Return the competition's settings without the folder of its images."""
    settings = competition.model_dump(mode="json")
    del settings["images"]["root"]
    return settings


def data_digests(collection: Collection) -> dict[str, Any]:
    """Return digests of all images (ids, labels, boxes and bytes) and of the decisions.

    What is absent is None.
    """
    test, decided = collection.test, collection.decisions
    dropped = [finding for finding in collection.findings if finding.action == "drop"]
    return {
        "labelled": data_digest(collection.labelled),
        "test": None if test is None else _unlabelled_digest(test),
        "index": None if collection.index is None else _unlabelled_digest(collection.index),
        "holdout": digest_of(sorted(collection.holdout.query.image_ids.tolist())),
        "left_out": sorted(
            {finding.image_id for finding in dropped if finding.image_id} | collection.unreadable
        ),
        "decisions": {"rows": len(decided.effective), "sha256": decided.digest}
        if decided.effective
        else None,
    }


def package_versions() -> dict[str, str]:
    """Return the releases of Python and of the packages that may change a score."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit and whether files differ from it, or None outside of a repository."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": changed}


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def _unlabelled_digest(images: ImageSet) -> str:
    return data_digest(images.with_labels(images.image_ids))


def save(workspace: Workspace, receipt: dict[str, Any], text: str) -> SubmissionFolder:
    """Write the CSV and the receipt to `submissions/<date>_<names>_<hash>/`; return the folder.

    The same CSV made again on the same day has the same folder.
    """
    names = "+".join(plugin["name"] for plugin in receipt["plugins"])[:_LONGEST_NAME]
    name = f"{receipt['created'][:10]}_{names}_{receipt['csv']['sha256'][:8]}"
    package = SubmissionFolder(workspace.submissions / name)
    write_text(package.csv, text)
    write_json(package.receipt, receipt)
    _keep_pseudo_labels(workspace, receipt, package)
    ledger.record_submission(workspace, receipt, package.folder)
    return package


def _keep_pseudo_labels(
    workspace: Workspace, receipt: dict[str, Any], package: SubmissionFolder
) -> None:
    """Copy the pseudo-labels of the networks, which their runs keep only for a time."""
    for entry in receipt["plugins"]:
        for digest in {entry.get("pseudo_labels"), entry.get("scored_pseudo_labels")} - {None}:
            file = runs.find_pseudo_labels(workspace, entry["name"], digest)
            if file is not None:
                write_bytes(package.pseudo_labels(digest), file.read_bytes())


@dataclass(frozen=True, kw_only=True)
class Package:
    """A packaged submission: its folder, receipt and answers, the members and their local score.

    `missing` says why there is no local score.
    """

    folder: SubmissionFolder
    receipt: dict[str, Any] = field(repr=False)
    submission: Submission = field(repr=False)
    members: Sequence[Member] = field(repr=False)
    score: EnsembleScore | None = field(repr=False)
    missing: str | None = field(repr=False)

    @property
    def csv(self) -> Path:
        """The file for the leaderboard."""
        return self.folder.csv


def submit(
    setup: Ensemble,
    sources: Sequence[MemberSource],
    weights: Sequence[float] | None = None,
    which: str = "last",
    *,
    whitening: Whitening = None,
    note: str = "",
    recipe: str = "",
) -> Generator[Progress | str, None, Package]:
    """Score plugins locally, answer the leaderboard's queries, and write the CSV with its receipt.

    `setup` has no members yet; the receipt holds the text of a `recipe`. Yields warnings about
    checkpoints. Raises KitboxError for options that need a holdout where there is none.
    """
    competition, collection, options = setup.competition, setup.collection, setup.options
    check_top_k(options, competition)
    if competition.task.answers == "pairs":  # a faulty list shows before anything is embedded
        protocol.submitted_pairs(collection.searches, competition)
    scored: list[Member] = []
    locally, absent = None, collection.absent_holdout
    unknown_model, fusion_model = None, None
    missing = absent.reason if absent else members.holdout_conflict(sources, collection)
    if missing is not None:
        thresholds = unfitted_thresholds(options, competition, missing)
        if threshold_note := options.threshold_note(competition):
            yield threshold_note
    else:
        scored, locally = yield from answers.score_plugins(
            setup, sources, weights, which, whitening=whitening
        )
        thresholds, unknown_model = locally.score.thresholds, locally.unknown_model
        fusion_model = locally.fusion_model
    chosen = members.for_submission(
        setup.workspace, sources, weights, collection, which, whitening=whitening
    )
    yield from members.checkpoint_warnings([one for one in chosen if one not in scored])
    yield from members.refit_advice(chosen)
    ensemble = replace(setup, members=chosen)
    made = yield from make_submission(ensemble, thresholds, unknown_model, fusion_model)
    given = setup.embed_options
    device = inference.resolve_device(given.device)
    precision = inference.resolve_precision(given.precision, device)
    precision = "32" if given.engine == "onnx" else precision
    written = describe(
        made,
        ensemble,
        locally,
        scored,
        precision=precision,
        note=note,
        missing=missing,
        recipe=recipe,
    )
    return Package(
        folder=save(setup.workspace, written, made.text),
        receipt=written,
        submission=made,
        members=chosen,
        score=locally,
        missing=missing,
    )


def load(path: Path) -> dict[str, Any]:
    """Return the receipt in a file, or in the folder of a submission.

    Nothing in it is run, and no name leads out of a folder. Raises KitboxError, which names the
    file, for one of another form.
    """
    file = path / "receipt.json" if path.is_dir() else path
    receipt: dict[str, Any] = read_json(file)
    try:
        check(_Receipt, receipt)
        check(ThresholdSettings, receipt["competition"]["threshold"])
        for entry in receipt["plugins"]:
            if "imported" not in entry:
                check(_Network, entry, where=entry["name"])
                recorded_plugin(entry)
        ensemble_options(receipt)
    except KitboxError as error:
        raise KitboxError(str(error), where=f"the receipt {file}") from error
    return receipt


def source_of(entry: dict[str, Any], workspace: Workspace) -> MemberSource:
    """Return the plugin of a receipt's entry, with the settings that it had, or the embeddings."""
    if "imported" in entry:
        return imported_embeddings.load(entry["name"], workspace)
    return recorded_plugin(entry)


def ensemble_options(recorded: dict[str, Any]) -> EnsembleOptions:
    """Return the ensemble options of a receipt."""
    way = recorded["way"]
    return EnsembleOptions(
        whiten=recorded["whiten"],
        combine=way["combine"],
        dims=way["dims"],
        unknown=way["new_label"],
        rerank=tuple(way.get("rerank", ())),
        match=tuple(way.get("match", ())),
        fusion=way.get("fusion"),
        balance=way.get("balance"),
        top_k=recorded["top_k"],
    )


def recipe_of(recorded: dict[str, Any]) -> Recipe:
    """Return the recipe that made the submission of a receipt."""
    entries, way = recorded["plugins"], recorded["way"]
    return Recipe(
        members=tuple(
            RecipeMember(
                name=entry["name"],
                weight=entry["weight"],
                views=tuple(entry.get("views", ())),
                whiten=entry.get("whiten"),
            )
            for entry in entries
        ),
        whiten=recorded["whiten"],
        combine=way["combine"],
        dims=way["dims"],
        new_label=way["new_label"],
        threshold=_threshold_option(recorded),
        checkpoint="best" if any(entry.get("which") == "best" for entry in entries) else "last",
        **{name: way[name] for name in ("rerank", "match", "fusion", "balance") if name in way},
    )


def _threshold_option(recorded: dict[str, Any]) -> str | None:
    """Return a receipt's rule as a value of --threshold, None if it has no threshold."""
    if not recorded.get("threshold_evidence"):
        return None
    return threshold_text(recorded["competition"]["threshold"])


def threshold_text(rule: Mapping[str, Any]) -> str:
    """Return a receipt's rule of thresholds as a value of --threshold."""
    match rule["rule"]:
        case "fixed":
            return str(rule["similarity"])
        case "share":
            return f"{100 * rule['share']:.10g}%"
        case _:
            return str(rule["rule"])


def recorded_plugin(entry: Mapping[str, Any]) -> NamedPlugin:
    """Return the plugin of a receipt's entry, with its settings and its views."""
    plugin = Plugin.read(entry["settings"], entry["name"])
    return NamedPlugin(entry["name"], plugin, None, "receipt").with_views(entry.get("views", ()))


def entry_of_side(entry: dict[str, Any], on: str) -> dict[str, Any]:
    """Return a plugin's entry with the values of its network on one side, "holdout" or "all".

    If the submission's network has seen the holdout, another network was scored.
    """
    if on == entry["trained_on"]:
        return entry
    prefix = "scored_"
    return entry | {
        name.removeprefix(prefix): value for name, value in entry.items() if name.startswith(prefix)
    }
