"""How well local matchers tell hard pairs apart: 40 true pairs, each beside a hard wrong one.

    python benchmarks/matchers.py --workspace DIR --weights mobilenetv2_100.safetensors MATCHER...

Of 40 individuals two photographs are drawn, and for the first of each the photograph of another
individual that a frozen MobileNetV2 (whole pictures at 128x256, GeM, whitened to 128) finds most
similar. Prints the area under the ROC curve of each count, its 95 % interval over individuals for
the count by which the matcher ranks, and the processor time, on one core and one thread.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from kitbox.cli.terminal import follow, load_collection, open_workspace
from kitbox.keypoints import pair_scores
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.records import LabelledImages

PAIRS, RESAMPLED = 40, 2000
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def whitened(images: LabelledImages, weights: Path) -> NDArray[np.float32]:
    """Return unit vectors (n, 128) of whole photographs."""
    network = timm.create_model("mobilenetv2_100", num_classes=0)
    state = load_file(weights)
    network.load_state_dict({n: t for n, t in state.items() if not n.startswith("classifier")})
    network.eval()
    vectors = []
    with torch.inference_mode():
        for path in images.paths:
            with Image.open(path) as photograph:
                photograph.draft("RGB", (512, 512))
                small = photograph.convert("RGB").resize((256, 128), Image.Resampling.BICUBIC)
            pixels = (torch.from_numpy(np.array(small)).float() / 255 - MEAN) / DEVIATION
            maps = network.forward_features(pixels.permute(2, 0, 1)[None])
            vectors.append(maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)[0].numpy())
    units = np.stack(vectors)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = PCA(128, whiten=True, random_state=0).fit_transform(units)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def hard_pairs(images: LabelledImages, weights: Path, unknown: str | None) -> NDArray[np.int64]:
    """Return rows (2 * PAIRS, 2) of photographs: a true pair, then a wrong one, in turn."""
    vectors, labels = whitened(images, weights), images.labels
    rng = np.random.default_rng(0)
    names = [n for n in np.unique(labels) if n != unknown and (labels == n).sum() >= 2]
    pairs = []
    for name in rng.choice(names, PAIRS, replace=False):
        first, second = rng.choice(np.flatnonzero(labels == name), 2, replace=False)
        others = (labels != name) & (labels != unknown)
        wrong = np.where(others, vectors @ vectors[first], -np.inf).argmax()
        pairs += [(first, second), (first, wrong)]
    return np.array(pairs, dtype=np.int64)


def interval(scores: NDArray[np.float32], same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the 95 % interval of the area, over resampled individuals."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(RESAMPLED):
        drawn = rng.integers(0, PAIRS, PAIRS)
        rows = np.concatenate([2 * drawn, 2 * drawn + 1])
        found.append(roc_auc_score(same[rows], scores[rows]))
    return np.percentile(found, [2.5, 97.5])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("matchers", nargs="+", metavar="MATCHER")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    workspace, competition = open_workspace(arguments.workspace)
    images = load_collection(workspace, competition).labelled
    rows = hard_pairs(images, arguments.weights, competition.images.unknown_label)
    first, second = images.image_ids[rows[:, 0]], images.image_ids[rows[:, 1]]
    same = np.arange(len(rows)) % 2 == 0
    options = pair_scores.MatchOptions(workers=1, device="cpu")
    for text in arguments.matchers:
        begin = time.process_time()
        settings = MatchSettings.parse(text)
        found = follow(pair_scores.measure(settings, images, first, second, workspace, options))
        seconds = time.process_time() - begin
        areas = {
            name: roc_auc_score(same, np.nan_to_num(getattr(found, name)))
            for name in ("matches", "inliers", "confident")
        }
        low, high = interval(np.nan_to_num(found.score), same)
        print(
            f"{text}: "
            + ", ".join(f"{name} {area:.3f}" for name, area in areas.items())
            + f"; {found.ranked_by} [{low:.2f}, {high:.2f}]; {seconds:.1f} s, "
            f"{found.cached} of {len(found)} pairs cached"
        )


if __name__ == "__main__":
    main()
