"""Files of kitbox, changed at random: each is read, or refused in one sentence."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FILE = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
KINDS = (
    *("receipt", "ledger", "run", "journal", "manifest", "cached", "checkpoint", "recipe"),
    *("settings", "list", "pairs", "catalogue", "identified", "decisions", "pseudo", "boxes"),
    *("box_lists", "submission", "vector_tables", "workbook", "npy", "npz", "parquet"),
    *("safetensors", "torch", "photograph"),
)


@pytest.fixture(scope="module")
def fuzz() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        spec.loader.exec_module(module)
    return module


def test_every_kind_of_file_is_changed(fuzz: Any) -> None:
    assert set(fuzz.targets()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused_in_one_sentence(
    fuzz: Any, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target, folder = fuzz.targets()[kind], tmp_path_factory.mktemp(kind)
    for good in target.goods[:1] if kind == "submission" else target.goods:
        assert fuzz.run(target, good, folder) == "read"
    answers = set()

    @settings(max_examples=25)
    @given(seed=st.integers(0, 2**32))
    def change(seed: int) -> None:
        [data] = fuzz.inputs(target, seed, 0, 1)
        answer = fuzz.run(target, data, folder)
        assert answer in ("read", "refused"), data
        answers.add(answer)

    change()
    assert "refused" in answers
