"""Labels that mean "nobody knows", and labels that differ only in how they are written."""

import io
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from kitbox.competition.findings import DataFinding, FindingCollector
from kitbox.competition.presets import UNKNOWN_LABELS
from kitbox.competition.settings import Competition, ImageSettings
from kitbox.decisions.decision_list import Decisions
from kitbox.records import LabelledImages
from kitbox.tables import csv_writer, safe_cell

# Wherever they stand in a label, in lower case and without accents: no name contains them.
_STEMS = re.compile(
    "unknown|uknown|unkown|unidentif|undetermin|undefined|unassigned|unlabel|unnamed|unmatched"
    "|unclassif|unspecif|unsorted|unbekannt|unbestimmt|inconnu|desconoc|desconhec|sconosciut"
    "|onbekend|ukjent|ukendt|tuntemat|nieznan|niezident|uidentif|oidentif|indetermin"
    "|неизвестн|неопозн|неопредел|不明|未知|未识别|未識別|未確認|미상|미확인"
)
# Whole words at the beginning or the end of a label, with or without numbers.
_WORDS = {"unk", "unkn", "unid", "unident", "indet", "undet", "noid", "noname", "okand", "okant"}
_PHRASES = re.compile(
    r"(?:not|non|no|nicht|nao|sin|sem|sans|senza|niet|ikke|inte|ej|kein|keine)"
    r" (?:identif|geidentif|known|determin|match|named|assigned|bekannt|id\b|name\b|nom\b|nome\b"
    r"|nombre\b)|to be (?:identif|determin|named|confirmed)|to identify"
)
# Whole labels without a number: NA12 or None-3 may be names of a catalogue.
_WHOLE = {
    *("na", "n a", "nan", "none", "null", "tbd", "tba", "tbc", "todo", "missing", "empty"),
    *("not available", "not applicable", "not sure", "unsure", "unclear", "uncertain", "nobody"),
    *("other", "others", "misc", "miscellaneous", "various"),
}
_EXCEL_ERRORS = {"#n/a", "#ref!", "#value!", "#name?", "#num!", "#div/0!", "#null!"}
_NUMBERS = {"-1", "-9", "-99", "-999", "-9999"}
# As many labels that differ only in a number at their end are written as one pattern.
_SERIES = 3


def label_findings(
    labelled: LabelledImages,
    competition: Competition,
    places: Mapping[str, str],
    decisions: Decisions | None = None,
) -> Iterator[DataFinding]:
    """Yield a finding for every label that means "nobody knows", and for labels that are alike.

    `places` maps an image to its list and line. Labels that a decision calls fine are left out.
    """
    collector = FindingCollector(competition)
    fine = frozenset() if decisions is None else decisions.fine
    counts = Counter(labelled.labels.tolist())
    first: dict[str, str] = {}
    for image_id, label in zip(labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True):
        first.setdefault(label, image_id)
    for unnamed in ("", competition.images.unknown_label):
        counts.pop(unnamed, None)

    def finding(kind: str, label: str, what: str) -> DataFinding:
        return DataFinding(
            places[first[label]],
            what,
            image_id=first[label],
            kind=kind,
            action=collector.action(kind, "labelled"),
        )

    nobody = [label for label in counts if is_nobody(label) and frozenset({label}) not in fine]
    line = setting_line(nobody, counts, competition.images) if nobody else ""
    for label in nobody:
        what = (
            f"label {_counted(label, counts)} seems to mean that nobody knows the individual, and "
            f"counts as one; set {line} under [images] in kitbox.toml, or add "
            f"{_row('fine', label)} to decisions.csv if it is a name"
        )
        yield finding("unknown-label", label, what)
    for alike in labels_alike(set(counts) - set(nobody)):
        alike.sort(key=lambda label: (-counts[label], label))
        most, *others = alike
        rows = [
            _row("merge", other, most) for other in others if frozenset({most, other}) not in fine
        ]
        if rows:
            # decisions.csv is read without the blanks around a label, which a folder may have
            blank = any(label != label.strip() for label in alike)
            advice = "rename a folder" if blank else f"add {' and '.join(rows)} to decisions.csv"
            what = (
                f"labels {' and '.join(_counted(label, counts) for label in alike)} differ only in "
                f"{_difference(alike)}; if they are one individual, {advice}"
            )
            yield finding("labels-alike", others[0], what)


def is_nobody(label: str) -> bool:
    """Return whether a label seems to mean that nobody knows the individual."""
    letters = unicodedata.normalize("NFKD", label).casefold().strip()
    text = "".join(letter for letter in letters if not unicodedata.combining(letter))
    words = re.findall(r"[^\W\d_]+", text)
    phrase = " ".join(words)
    if label in UNKNOWN_LABELS or text in _NUMBERS or text in _EXCEL_ERRORS:
        return True
    if not any(letter.isalnum() for letter in text):
        return text != "" and all(
            unicodedata.category(letter)[0] in "PZ" or letter in "<>=~+|^" for letter in text
        )
    if _STEMS.search(text) or _PHRASES.match(phrase) or _WORDS & {*words[:1], *words[-1:]}:
        return True
    if phrase in _WHOLE and not re.search(r"\d", text):
        return True
    # the folder of an individual in that of its species
    return "/" in label and is_nobody(label.rpartition("/")[2])


def setting_line(nobody: Iterable[str], counts: Mapping[str, int], images: ImageSettings) -> str:
    """Return the line of kitbox.toml that makes labels those of unknown individuals."""
    series: dict[str, list[str]] = defaultdict(list)
    for label in nobody:
        series[re.sub(r"(?<!\d)\d+$", "", label)].append(label)
    single, patterns = [], []
    for stem, labels in series.items():
        others = [label for label in counts if label.startswith(stem) and not is_nobody(label)]
        if stem and len(labels) >= _SERIES and not others:
            patterns.append(f"{stem}*")
        else:
            single += labels
    # the first is the one in answers: a word as "unknown", and the most frequent one
    single.sort(key=lambda label: (not _STEMS.search(label.casefold()), -counts[label], label))
    given = list(images.unknown_labels) or single or [patterns[0].rstrip("* _-.")]
    labels = list(dict.fromkeys([*given, *single, *patterns]))
    texts = [json.dumps(label, ensure_ascii=False) for label in labels]
    return f"unknown_label = {texts[0] if len(texts) == 1 else '[' + ', '.join(texts) + ']'}"


def _without_blanks(label: str) -> str:
    """Return a label without blanks and characters that nobody sees, as U+200B."""
    return "".join(
        letter for letter in label if not letter.isspace() and unicodedata.category(letter) != "Cf"
    )


def _without_zeros(label: str) -> str:
    """Return a label without zeros before its number, where that is its end: W7 of W007."""
    parts = re.fullmatch(r"(\D*)(\d+)((?:\.0+)?)", label)
    return label if parts is None else f"{parts[1]}{parts[2].lstrip('0') or '0'}{parts[3]}"


# What two ways to write a label may differ in; each is folded away in this order.
_FOLDS: dict[str, Callable[[str], str]] = {
    "Unicode form": lambda label: unicodedata.normalize("NFKC", label),
    "blanks": _without_blanks,
    "case": str.casefold,
    "'.0'": lambda label: re.sub(r"^(\D*\d+)\.0+$", r"\1", label),
    "leading zeros": _without_zeros,
}


def _fold(label: str, but: str = "") -> str:
    for name, fold in _FOLDS.items():
        label = label if name == but else fold(label)
    return label


def labels_alike(labels: Iterable[str]) -> list[list[str]]:
    """Return the groups of labels that differ only in how they are written."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[_fold(label)].append(label)
    return [group for _, group in sorted(groups.items()) if len(group) > 1]


def _difference(labels: list[str]) -> str:
    needed = [name for name in _FOLDS if len({_fold(label, but=name) for label in labels}) > 1]
    return " and ".join(needed or ["blanks"])


def _counted(label: str, counts: Mapping[str, int]) -> str:
    return f"'{label}' ({counts[label]} image{'' if counts[label] == 1 else 's'})"


def _row(*cells: str) -> str:
    """Return a row of decisions.csv."""
    text = io.StringIO()
    csv_writer(text).writerow(map(safe_cell, cells))
    row = text.getvalue().removesuffix("\n")
    return f"'{row}'"
