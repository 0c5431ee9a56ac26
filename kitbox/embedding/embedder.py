"""Embeds images with a checkpoint, or loads the embeddings from the cache."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from kitbox.devices import process_group
from kitbox.embedding import cache, engine_choice
from kitbox.embedding.engine_choice import TORCH, EngineChoice
from kitbox.embedding.view_inputs import scale_network, view_inputs
from kitbox.errors import KitboxError
from kitbox.files import digest_of
from kitbox.network import inference
from kitbox.network.checkpoint import check_checkpoint, layers, load_network
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.views import PLAIN, View, cost, is_view, parse_view, views_of
from kitbox.records import Checkpoint, Embeddings, Floats, ImageSet, Integers, Progress, Strings
from kitbox.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds to import, and only networks need it
    from torch import Tensor, nn

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Where and how a network runs; without `reuse` the cache is neither read nor written."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    engine: str = "auto"
    reuse: bool = True


def embed(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    workspace: Workspace,
    *,
    unreadable: frozenset[str] = frozenset(),
    options: EmbedOptions = EmbedOptions(),
    homogeneous: bool = False,
) -> Generator[Progress, None, Embeddings]:
    """Return the unit embeddings of images, in their order; yields Progress unless cached.

    Of images that the cache has in other sets, only the new ones are computed.
    The vectors of the plugin's views are averaged, each of which is cached apart. `homogeneous`
    returns (x, 1) at unit length, of one dimension more, for an embedding x: it keeps the length of
    x, which a linear classifier needs.
    Raises KitboxError for a checkpoint of another plugin or of other settings, and for a view that
    the images or the network cannot have.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    choice = engine_choice.choose(options.engine, device, options.precision, len(images))
    views = views_of(named.plugin.views)
    parts = {
        (view, each): key_parts(
            named,
            checkpoint,
            images,
            unreadable,
            precision,
            homogeneous=homogeneous,
            view=view,
            engine=each,
        )
        for view, each in product(views, choice.engines)
    }
    found: dict[View, Embeddings] = {}
    for (view, _), causes in parts.items():  # those of torch first, where there are both
        if options.reuse and view not in found:
            embeddings = cache.load(workspace, cache.key(causes), images.image_ids)
            found |= {} if embeddings is None else {view: embeddings}
    # others may have less: another program fills the cache meanwhile, or they have their own
    missing = []
    for view in views:
        first, *others = process_group.gather_objects(view in found)
        if not first:
            missing.append(view)
        elif not all(others):
            found[view] = process_group.share(found.get(view))
    if missing and named.plugin.views:
        notice = f"{named.name}: {cost(views, missing, len(images))}"
        yield Progress(f"embed {named.name}", 0, len(images), notice=notice)
    for view in missing:
        names = row_names(images, unreadable, cropped=_is_cropped(view, images, named))
        known: dict[str, Floats] = {}
        engines = set()
        for each in choice.engines if options.reuse else ():
            before = len(known)
            cache.add_known_rows(workspace, parts[view, each], names, known)
            engines |= {each} if len(known) > before else set()
        lacking = [row for row, name in enumerate(names) if name not in known]
        new = np.unique(np.concatenate(process_group.gather_objects(lacking))).astype(np.int64)
        fresh = images if len(new) == len(images) else images.take(new)
        if known:
            notice = (
                f"{named.name}: {len(names) - len(new)} of {len(names)} images are in the cache"
            )
            yield Progress(f"embed {named.name}", 0, len(new), notice=notice)
        computed: Floats = np.empty((0, 0), dtype=np.float32)
        if len(new):
            computed, used = yield from _vectors(
                named,
                checkpoint,
                fresh,
                workspace,
                view=view,
                unreadable=unreadable,
                options=replace(options, device=device, precision=precision),
                choice=choice,
                homogeneous=homogeneous,
                unfinished={
                    each: cache.UnfinishedSet(
                        workspace, cache.key(parts[view, each]), [_BATCH, new.tolist()]
                    )
                    for each in (choice.engines if options.reuse else ())
                },
            )
            engines.add(used)
        engines.update(*process_group.gather_objects(engines))  # all keep the same, and wait
        if options.reuse and len(engines) == 1:
            [engine_used] = engines
            causes = parts[view, engine_used]
            vectors = _joined(names, known, new, computed)
            found[view] = _save(workspace, images.image_ids, vectors, causes, names)
            continue
        if options.reuse and len(new):  # of two engines: each row stays with its own
            causes = key_parts(
                named,
                checkpoint,
                fresh,
                unreadable,
                precision,
                homogeneous=homogeneous,
                view=view,
                engine=used,
            )
            rows = [names[row] for row in new.tolist()]
            computed = _save(workspace, fresh.image_ids, computed, causes, rows).vectors
        elif len(new):
            computed = process_group.share(computed)
        found[view] = Embeddings(images.image_ids, _joined(names, known, new, computed))
    if options.reuse and process_group.rank() == 0:  # also what was killed before it got here
        for causes in parts.values():
            cache.remove_unfinished(workspace, cache.key(causes))
    if len(views) == 1:
        return found[views[0]]
    return Embeddings(images.image_ids, _mean([found[view].vectors for view in views]))


def _save(
    workspace: Workspace,
    image_ids: Strings,
    vectors: Floats,
    causes: dict[str, Any],
    names: Sequence[str],
) -> Embeddings:
    """Write embeddings into the cache in the first process, and return them.

    The others, which have a part of the vectors, return what they find in the cache, or what the
    first sends where one of them does not see the files yet.
    """
    key = cache.key(causes)
    saved: Embeddings | None = None
    if process_group.rank() == 0:
        saved = Embeddings(image_ids, vectors)
        cache.save(workspace, key, saved, causes, names)
    process_group.wait_for_all()
    if process_group.rank() > 0:
        saved = cache.load(workspace, key, image_ids)
    unseen = process_group.gather_objects(saved is None)
    if saved is None or any(unseen):
        sent: Embeddings = process_group.share(saved)
        return sent
    return saved


def cached_views(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    workspace: Workspace,
    *,
    unreadable: frozenset[str] = frozenset(),
    options: EmbedOptions = EmbedOptions(),
) -> tuple[str, ...]:
    """Return the names of the views by which `embed` would find these images in the cache.

    The plain view comes first, the others by name.
    """
    if not options.reuse:
        return ()
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    choice = engine_choice.choose(options.engine, device, options.precision, len(images))
    network = {"fingerprint": named.plugin.fingerprint, "checkpoint": checkpoint.digest}
    names = {str(causes.get("view")) for causes in cache.causes_like(workspace, network)}
    found = []
    for view in map(parse_view, sorted(filter(is_view, names))):
        for each in choice.engines:
            causes = key_parts(
                named, checkpoint, images, unreadable, precision, view=view, engine=each
            )
            if (workspace.embeddings / cache.key(causes)).is_dir():
                found.append(view)
                break
    return tuple(view.name for view in sorted(found, key=lambda view: (view != PLAIN, view.name)))


def key_parts(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    unreadable: frozenset[str],
    precision: str,
    *,
    homogeneous: bool = False,
    view: View = PLAIN,
    engine: str = TORCH,
) -> dict[str, Any]:
    """Return everything that determines the embeddings of images by a view, for their cache key.

    It covers the plugin's settings, the bytes of the weights, and of each image its id, its bytes
    and the box it is cropped to.
    """
    boxes = _boxes(images, cropped=_is_cropped(view, images, named))
    rows = [
        [str(image_id), str(digest), box]
        for image_id, digest, box in zip(images.image_ids, images.file_digests, boxes, strict=True)
    ]
    name = f"homogeneous {view.name}" if homogeneous else view.name
    own = {} if engine == TORCH else {"engine": engine, "precision": "32"}
    return {
        "fingerprint": named.plugin.fingerprint,
        "checkpoint": checkpoint.digest,
        "images": digest_of(rows),
        "blank": sorted(unreadable & set(images.image_ids.tolist())),
        "view": "homogeneous" if homogeneous and view == PLAIN else name,
        "precision": precision,
        **own,
    }


def row_names(images: ImageSet, unreadable: frozenset[str], *, cropped: bool) -> list[str]:
    """Return what of each image determines its vector: its bytes and the box it is cropped to.

    An unreadable image, which is embedded as a grey one, has '': it has no vector of its own.
    """
    boxes = _boxes(images, cropped=cropped)
    return [
        "" if image_id in unreadable else digest if box is None else f"{digest} {box}"
        for image_id, digest, box in zip(
            images.image_ids.tolist(), images.file_digests.tolist(), boxes, strict=True
        )
    ]


def _is_cropped(view: View, images: ImageSet, named: NamedPlugin) -> bool:
    return any(part.cropped for part in view_inputs(view, images, crop=named.plugin.crop))


def _boxes(images: ImageSet, *, cropped: bool) -> list[list[float] | None]:
    """Return the box of each image that it is cropped to, None where it stays whole."""
    if not cropped or images.boxes is None:
        return [None] * len(images)
    return [None if np.isnan(box).any() else box.tolist() for box in images.boxes]


def _joined(
    names: Sequence[str], known: dict[str, Floats], new: Integers, computed: Floats
) -> Floats:
    """Return the vectors of all rows: those `computed` of the `new` ones, the others `known`."""
    if not known:
        return computed
    dim = len(next(iter(known.values())))
    vectors = np.empty((len(names), dim), dtype=np.float32)
    if len(new):
        vectors[new] = computed
    for row in np.setdiff1d(np.arange(len(names)), new).tolist():
        vectors[row] = known[names[row]]
    return vectors


def _vectors(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    workspace: Workspace,
    *,
    view: View,
    unreadable: frozenset[str],
    options: EmbedOptions,
    choice: EngineChoice,
    homogeneous: bool,
    unfinished: dict[str, cache.UnfinishedSet],
) -> Generator[Progress, None, tuple[Floats, str]]:
    """Return the unit vectors (n, d) of a view, and the engine used; yields Progress.

    Of several processes each embeds every nth batch. The batches are those of a process alone, so
    that the vectors are the same. The first process gets all vectors, and the others keep their own
    part of them. The first process chooses the engine before the others begin.
    The batches that an earlier process finished are taken from the `unfinished` set of an engine,
    which then embeds the others.
    """
    import torch

    from kitbox.embedding.engine import Engine, NetworkSource
    from kitbox.images.loader import (
        BatchItem,
        ImageDataset,
        build_loader,
        read_ahead,
        worker_count,
    )

    rank, world = process_group.rank(), process_group.world_size()
    check_checkpoint(checkpoint, named)
    begun, kept = _begun(unfinished)
    if begun is not None:
        choice = replace(choice, engines=(begun,), required=True)
    plugin, load = named.plugin, partial(load_network, checkpoint, named)
    size = plugin.height_width
    if view.scale != 1:
        network = load()
        size = scale_network(network, size, view.scale, named.name)
    source = NetworkSource(
        load=load if view.scale == 1 else lambda: network,
        size=size,
        digest=digest_of([plugin.fingerprint, checkpoint.digest]),
        layers=layers(checkpoint.path),
    )
    runner = Engine(
        source,
        choice,
        device=options.device,
        precision=options.precision,
        folder=workspace.engines,
        images=len(images),
    )
    if homogeneous:
        runner.register_forward_hook(_append_one)
    inputs = view_inputs(view, images, crop=plugin.crop)
    found = []
    progress = f"embed {named.name}{f' ({view.name})' if plugin.views else ''}"
    if kept:
        before = sum(map(len, kept.values())) // len(inputs)
        notice = f"{named.name}: about {before} of {len(images)} images were embedded before"
        yield Progress(progress, before * len(inputs), len(inputs) * len(images), notice=notice)
    for number, given in enumerate(inputs):
        dataset = ImageDataset(
            images,
            size,
            interpolation=runner.facts.interpolation,
            crop_margin=plugin.crop_margin if given.cropped else None,
            part=given.part,
            unreadable=unreadable,
            workspace=workspace,
        )
        rows, first = np.arange(len(images)), number * len(images)
        own = np.split(rows, range(_BATCH, len(rows), _BATCH))[rank::world]
        left = [batch for batch in own if first + int(batch[0]) not in kept]
        batches = [[BatchItem(int(row), flipped=given.flipped) for row in each] for each in left]
        loader: Iterable[tuple[Tensor, Tensor]]
        if options.device == "cpu" and options.workers is None:
            loader = read_ahead(dataset, batches, torch.get_num_threads())
        else:
            workers = worker_count(dataset, options.device, options.workers)
            pinned = options.device == "cuda"
            loader = build_loader(dataset, batches, workers=workers, pinned=pinned)
        vectors = np.empty(
            (len(images), runner.facts.embedding_dim + homogeneous), dtype=np.float32
        )
        for batch in own:
            if first + int(batch[0]) in kept:
                vectors[batch] = kept[first + int(batch[0])]
        done = min(first + world * sum(map(len, own[len(left) :])), first + len(images))
        chosen = number > 0 or begun is not None
        if not chosen and rank > 0:
            process_group.wait_for_all()
        for batch_vectors, batch_rows in inference.embed_batches(
            runner, loader, device=options.device, precision=options.precision
        ):
            vectors[batch_rows] = batch_vectors
            if not chosen and rank == 0:
                process_group.wait_for_all()
            chosen = True
            if runner.used in unfinished:
                unfinished[runner.used].add(first + int(batch_rows[0]), batch_vectors)
            done = min(done + world * len(batch_rows), first + len(images))
            notice = runner.take_notice()
            yield Progress(
                progress,
                done,
                len(inputs) * len(images),
                note=", ".join(part for part in (dataset.source, runner.label) if part),
                notice=notice and f"{named.name}: {notice}",
            )
        found.append(_gather_rows(vectors, own))
    engines = {
        used
        for used, count in process_group.gather_objects((begun or runner.used, len(own)))
        if count
    }
    if len(engines) > 1:
        raise KitboxError(
            f"the processes ran {named.name} by different engines", fix="add --engine torch"
        )
    return found[0] if rank > 0 or len(found) == 1 else _mean(found), engines.pop()


def _begun(unfinished: dict[str, cache.UnfinishedSet]) -> tuple[str | None, dict[int, Floats]]:
    """Return the engine of the batches that are finished, None without any, and their vectors.

    All processes go on with the engine that the first one finds.
    """
    stored = {engine: batches.load() for engine, batches in unfinished.items()}
    found = next((engine for engine, kept in stored.items() if kept), None)
    engine = process_group.gather_objects(found)[0]
    return engine, {} if engine is None else stored[engine]


def _gather_rows(vectors: Floats, own: Sequence[Integers]) -> Floats:
    """Return vectors (n, d), in the first process with the rows of all; this one has its `own`."""
    if process_group.world_size() == 1:
        return vectors
    rows = np.concatenate([*own, np.empty(0, dtype=np.int64)])
    for rows_of, vectors_of in process_group.gather_to_first((rows, vectors[rows])) or ():
        vectors[rows_of] = vectors_of
    return vectors


def _mean(vectors: Sequence[Floats]) -> Floats:
    """Return the mean of unit vectors (n, d) at unit length."""
    total = np.sum(vectors, axis=0, dtype=np.float32)
    unit: Floats = total / np.linalg.norm(total, axis=1, keepdims=True)
    return unit


def _append_one(module: "nn.Module", given: "tuple[Tensor, ...]", embeddings: "Tensor") -> "Tensor":
    """Return embeddings (n, d) with a column of ones."""
    import torch

    del module, given
    return torch.cat([embeddings.float(), embeddings.new_ones(len(embeddings), 1).float()], dim=1)
