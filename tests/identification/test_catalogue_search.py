import numpy as np
import pytest

from kitbox.catalogue.encounter_rule import encounters_of
from kitbox.errors import KitboxError
from kitbox.identification.catalogue_calibration import gather
from kitbox.identification.catalogue_search import IdentifyOptions, best_calibration
from kitbox.records import Embeddings
from tests.identification.drawn_catalogue import unit


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"certain": 0.4}, "--certain 0.4 is no probability from 0.5 to below 1; 0.8 is usual"),
        ({"certain": 1.0}, "--certain 1 is no probability"),
        ({"new_share": 0.0}, "--new-share 0 is not between 0 and 1; write 0.25 for a quarter"),
    ],
)
def test_impossible_options_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        IdentifyOptions(**given)  # type: ignore[arg-type]


def test_of_strangers_as_few_get_a_name_with_whitening_as_the_calibration_says() -> None:
    generator = np.random.default_rng(3)
    people, each, dim, strangers = 64, 4, 64, 200
    centres = generator.normal(size=(people + strangers, dim))
    shown = np.append(np.repeat(range(people), each), range(people, people + strangers))
    vectors = centres[shown] + generator.normal(size=(len(shown), dim))
    vectors[:, :3] += 12 * generator.normal(size=(len(shown), 3))  # light, that whitening removes
    count = people * each
    names = np.array([f"w{number:03d}" for number in shown[:count]])
    none = np.full(count, "")
    encounters = encounters_of(names, none, none, np.empty((0, 2), dtype=np.int64))
    given = Embeddings(np.array([str(row) for row in range(len(shown))]), unit(vectors))
    calibration, _, used, dims = best_calibration(given, names, encounters, whitenings=[None, 64])
    assert dims == 64
    assert calibration.model is not None
    assert calibration.cross is not None
    signals = gather(used[count:], calibration.gallery).signals
    found = calibration.model.identities(signals, calibration.expected_new)
    for least in (0.5, 0.8):
        said = (calibration.cross.unknown.probability.max(axis=1) >= least).mean()
        real = (found.probability.max(axis=1) >= least).mean()
        assert abs(real - said) < 0.1
