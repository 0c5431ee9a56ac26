"""A classifier on meta-embeddings: PCA, two dense layers, probabilities of labels."""

from collections.abc import Generator, Iterator

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, ImageSet, Progress, Strings
from kitbox.retrieval.answers import Told
from kitbox.retrieval.ranking import Teller
from kitbox.training import dense

# What 29 networks were cut down to by the tenth of Kaggle's humpback whales.
DIMS = 2048


def fit(
    embeddings: Embeddings,
    labelled: ImageSet,
    competition: Competition,
    dims: int | None,
    device: str,
) -> Generator[Progress, None, Teller]:
    """Return what tells the probabilities of labels, fitted on labelled images; yields Progress.

    `labelled` are the images that may be learnt from; PCA to `dims` (2048, or as many as there
    are) and the layers see no others. Networks have learnt these images too, so that they lie
    nearer together than new ones do; embeddings from outside a fold lie in spaces of their own and
    cannot take their place. Images of the unknown label or of none are left out. After Sanakoyeu,
    Pleskov and Shakhray (2019).

    Raises KitboxError for more dimensions than there are.
    """
    from sklearn.decomposition import PCA  # takes a second to load

    assert labelled.labels is not None  # noqa: S101  the caller's labelled images
    named = ~np.isin(labelled.labels, ["", competition.images.unknown_label or ""])
    labels, vectors = labelled.labels[named], embeddings.of(labelled.image_ids[named]).vectors
    most = min(len(labels) - 1, embeddings.dim)
    if dims is not None and dims > most:
        raise KitboxError(
            f"--dims {dims}: {len(labels)} images in {embeddings.dim} dimensions have "
            f"at most {most}"
        )
    names, codes = np.unique(labels, return_inverse=True)
    pca = PCA(dims or min(DIMS, most), random_state=0).fit(vectors)
    # one scale for all directions: what varies little between photographs stays little
    scale = np.sqrt(pca.n_components_ / pca.explained_variance_.sum())

    def inputs(rows: Floats) -> Floats:
        return np.asarray(pca.transform(rows) * scale, dtype=np.float32)

    yield Progress("fit the classifier", 0, 1, "classifiers")
    layers = dense.fit(inputs(vectors), codes.astype(np.int64), device=device)

    def tell(query_images: Strings, known: ImageSet) -> Told:
        assert known.labels is not None  # noqa: S101  taken from labelled images
        found = np.unique(known.labels)
        columns = np.searchsorted(names, found)

        def blocks() -> Iterator[tuple[slice, Floats]]:
            if len(found) and len(query_images):
                asked = inputs(embeddings.of(query_images).vectors)
                yield slice(None), layers.probabilities(asked)[:, columns]

        return found, blocks()

    return tell
