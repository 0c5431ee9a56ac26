"""A map of embeddings: similar images near each other, in two dimensions."""

import warnings

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Embeddings, Integers

# t-SNE of so many takes some seconds on one core, and more dots than that hide each other.
MOST = 1500
_SEED = 0
_COMPONENTS = 50
_PERPLEXITY = 30
# Half of scikit-learn's: of 1,500 points the divergence is 3.05 then, and 3.00 after all of them.
_STEPS = 500
# The approximation costs more than it saves below this.
_FEW = 300


def sample(asked: NDArray[np.bool_], most: int = MOST) -> Integers:
    """Return the rows to draw, in order: all, or of more than `most` both sides by lot.

    Queries are drawn first, up to half of the map.
    """
    if len(asked) <= most:
        return np.arange(len(asked))
    generator = np.random.default_rng(_SEED)
    queries, others = np.flatnonzero(asked), np.flatnonzero(~asked)
    share = min(len(queries), max(most // 2, most - len(others)))
    chosen = [
        generator.choice(queries, share, replace=False),
        generator.choice(others, most - share, replace=False),
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def flat(embeddings: Embeddings) -> NDArray[np.float64]:
    """Return places (n, 2) in [0, 1]: t-SNE (van der Maaten and Hinton, 2008) of 50 components.

    The same embeddings have the same map. Fewer than five images, of which t-SNE can make nothing,
    are placed by their principal components.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    vectors = embeddings.vectors.astype(np.float64)
    count = len(vectors)
    if count < 2:
        return np.full((count, 2), 0.5)
    components = min(_COMPONENTS, count - 1, vectors.shape[1])
    found = PCA(components, random_state=_SEED).fit_transform(vectors)
    if count >= 5 and np.ptp(found, axis=0).max() > 0:
        perplexity = min(_PERPLEXITY, (count - 1) / 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sums that overflow on the way and do no harm
            found = TSNE(
                perplexity=perplexity,
                max_iter=_STEPS,
                method="exact" if count < _FEW else "barnes_hut",
                init="pca" if components > 1 else "random",
                random_state=_SEED,
                n_jobs=-1,
            ).fit_transform(found)
    places = np.zeros((count, 2))
    places[:, : min(found.shape[1], 2)] = found[:, :2]
    spread = np.ptp(places, axis=0)
    return np.asarray((places - places.min(axis=0)) / np.where(spread > 0, spread, 1))
