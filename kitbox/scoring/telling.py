"""Says in sentences with which thresholds a local score was taken, and how far to trust it."""

from typing import Any

from kitbox.scoring.local import LocalScore


def threshold(found: LocalScore) -> list[str]:
    """Return sentences, without capital and full stop, about the thresholds and what they do."""
    evidence = found.evidence
    folds = evidence.get("folds", [evidence])
    scale = folds[0].get("scale", "similarity")
    told = [
        f"threshold{f' of {group}' if group else ''}: {scale} {value:.4f} ({evidence['rule']})"
        for group, value in found.thresholds.items()
    ]
    if "score_on_the_same_queries" in evidence and evidence["rule"] == "best":
        told.append(
            "each query was scored by a threshold fitted without it; fitted on the same queries "
            f"it would look like {evidence['score_on_the_same_queries']:.4f}"
        )
    if "answered_unknown" in evidence:
        told.append(
            f"{evidence['unknown']:.1%} of the queries are unknown, "
            f"{evidence['answered_unknown']:.1%} were answered so"
        )
    told += [_of_new_labels(fold["new_label"]) for fold in folds if "new_label" in fold]
    if any(e.get("fitted_on_the_same_queries") for e in folds):
        told.append(
            "the clusters were scored at the cut that is best for the same queries: it flatters"
        )
    if "clusters" in evidence:
        told.append(f"{evidence['clusters']} clusters of {evidence['individuals']} individuals")
    return told


def _of_new_labels(learned: dict[str, Any]) -> str:
    return (
        "unknown individuals are told from known ones with an area under the ROC curve of "
        f"{_with_interval(learned['auc'])}, by the first similarity alone of "
        f"{_with_interval(learned['auc_of_similarity'])}"
    )


def _with_interval(score: dict[str, Any]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
