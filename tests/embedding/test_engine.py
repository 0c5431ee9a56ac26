"""Engines: ONNX Runtime where it agrees with torch and is faster, else torch, and it says so."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kitbox import files
from kitbox.embedding import engine, engine_choice, onnx_graph
from kitbox.embedding.engine import Engine, NetworkSource
from kitbox.embedding.engine_choice import ONNX, TORCH, EngineChoice
from kitbox.errors import KitboxError
from kitbox.network import inference
from kitbox.network.network import Network
from tests.photographs import tiny

AUTO = EngineChoice(engines=(TORCH, ONNX))
MANY = engine_choice.WORTHWHILE
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 32, 64, 3), np.uint8))


def network(seed: int = 0, **settings) -> Network:
    torch.manual_seed(seed)
    made = Network(tiny(**{"backbone": "test_efficientnet", "image_size": (32, 64), **settings}))
    return made.eval()


def run(
    folder: Path, choice: EngineChoice = AUTO, *, images: int = MANY, seed: int = 0, load=network,
    **settings,
):  # fmt: skip
    layers = [(name, list(one.shape)) for name, one in network(**settings).state_dict().items()]
    source = NetworkSource(
        load=lambda: load(seed, **settings), size=(32, 64), digest=f"{seed}{settings}",
        layers=layers,
    )  # fmt: skip
    made = Engine(source, choice, device="cpu", precision="32", folder=folder, images=images)
    batches = [(PIXELS, torch.arange(len(PIXELS)))]
    [(vectors, _)] = inference.embed_batches(made, batches, device="cpu", precision="32")
    return made, vectors


@pytest.fixture
def onnx_is_faster(monkeypatch) -> None:
    monkeypatch.setattr(engine, "_speed", lambda run, _: float(not isinstance(run, Network)))


def expected(seed: int = 0, **settings) -> np.ndarray:
    with torch.inference_mode():
        return torch.nn.functional.normalize(network(seed, **settings)(PIXELS)).numpy()


@pytest.mark.parametrize(
    "settings",
    [{}, {"backbone": "resnet10t", "pooling": "gem_learned"}],
    ids=["efficientnet", "resnet"],
)
@pytest.mark.usefixtures("onnx_is_faster")
def test_onnx_runtime_embeds_as_torch_does(tmp_path: Path, settings) -> None:
    made, vectors = run(tmp_path, **settings)
    assert made.used == ONNX
    assert made.label == "ONNX Runtime"
    assert (vectors * expected(**settings)).sum(axis=1).min() >= 0.9999
    assert made.take_notice() == ""


@pytest.mark.usefixtures("onnx_is_faster")
def test_a_graph_and_a_choice_are_kept(tmp_path: Path, monkeypatch) -> None:
    _, first = run(tmp_path)
    [memory] = tmp_path.glob("*.json")
    assert json.loads(memory.read_text()) == {
        "engine": "onnx", "images_per_second": {"torch": 0.0, "onnx": 1.0}
    }  # fmt: skip
    monkeypatch.delattr(engine, "_speed")  # nothing is measured again
    other, _ = run(tmp_path, seed=1)  # nor for other weights of the same layers
    assert other.used == ONNX
    assert len(list(tmp_path.glob("*/graph.onnx"))) == 2
    monkeypatch.delattr(engine, "export")  # nothing is exported again
    loaded = []
    made, second = run(tmp_path, load=loaded.append)  # nor is the network loaded
    assert (first == second).all()
    assert loaded == []
    assert made.facts == ("bicubic", first.shape[1])


@pytest.mark.usefixtures("onnx_is_faster")
def test_a_changed_byte_of_a_graph_is_told(tmp_path: Path, monkeypatch) -> None:
    _, first = run(tmp_path)
    [graph] = tmp_path.glob("*/graph.onnx")
    whole = graph.read_bytes()
    for path in (graph, graph.with_name("manifest.json"), graph.with_name("facts.json")):
        data = path.read_bytes()
        for at in (0, len(data) // 2, len(data) - 2):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            monkeypatch.setattr(files, "_KNOWN_DIGESTS", {})
            with pytest.raises(KitboxError) as caught:
                run(tmp_path)
            assert str(caught.value) == (
                f"the graph {graph.parent} of ONNX Runtime is damaged; remove that folder; it is "
                "made again"
            )
        path.write_bytes(data)
    shutil.rmtree(graph.parent)
    _, again = run(tmp_path)
    assert (again == first).all()
    assert len(graph.read_bytes()) == len(whole)


@pytest.mark.usefixtures("onnx_is_faster")
def test_an_embedding_depends_on_its_image_alone(tmp_path: Path, monkeypatch) -> None:
    made, together = run(tmp_path)
    with torch.inference_mode():
        alone = torch.cat([made(PIXELS[row : row + 1]) for row in range(len(PIXELS))])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    _, by_five = run(tmp_path, EngineChoice(engines=(ONNX,), required=True))
    assert (torch.nn.functional.normalize(alone).numpy() == together).all()
    assert (by_five == together).all()


@pytest.mark.parametrize(("lead", "used"), [(1.2, ONNX), (1.3, TORCH)])
def test_torch_has_to_be_a_quarter_faster_in_the_best_of_its_turns(
    tmp_path: Path, monkeypatch, lead: float, used: str
) -> None:
    turns = iter([lead, 1.0, 0.1, 0.1, 0.1, 0.1])  # torch and ONNX Runtime by turns
    monkeypatch.setattr(engine, "_speed", lambda *_: next(turns))
    assert run(tmp_path)[0].used == used
    [memory] = tmp_path.glob("*.json")
    assert json.loads(memory.read_text())["images_per_second"] == {"torch": lead, "onnx": 1.0}


def test_the_faster_torch_is_remembered(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(engine, "_speed", lambda run, _: float(isinstance(run, Network)))
    made, vectors = run(tmp_path)
    assert made.used == TORCH
    assert np.allclose(vectors, expected(), atol=1e-5)
    monkeypatch.delattr(engine, "export")
    assert run(tmp_path)[0].used == TORCH


def test_few_images_are_not_worth_an_export(tmp_path: Path) -> None:
    assert run(tmp_path, images=MANY - 1)[0].used == TORCH
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_exported_runs_in_torch_and_it_says_so(
    tmp_path: Path, monkeypatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no symbol for aten::odd\nand a long stack")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    made, vectors = run(tmp_path)
    assert made.used == TORCH
    assert np.allclose(vectors, expected(), atol=1e-5)
    assert made.take_notice() == (
        "torch embeds, because ONNX Runtime cannot run this network (no symbol for aten::odd)"
    )
    again, _ = run(tmp_path, seed=1)
    assert made.take_notice() == again.take_notice() == ""  # it was said once
    with pytest.raises(KitboxError, match=r"aten::odd\); leave --engine onnx out"):
        run(tmp_path, EngineChoice(engines=(ONNX,), required=True))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_other_embeddings_are_not_used(tmp_path: Path, monkeypatch) -> None:
    own = onnx_graph.OnnxGraph.__call__
    monkeypatch.setattr(
        onnx_graph.OnnxGraph, "__call__", lambda self, pixels: own(self, pixels).sqrt()
    )
    made, vectors = run(tmp_path)
    assert made.used == TORCH
    assert np.allclose(vectors, expected(), atol=1e-5)
    assert "embeddings of ONNX Runtime differ from those of torch (cosine" in made.take_notice()
    assert not list(tmp_path.glob("*/graph.onnx"))
    with pytest.raises(KitboxError, match="leave --engine onnx out"):
        run(tmp_path, EngineChoice(engines=(ONNX,), required=True))


@pytest.mark.parametrize(
    ("engine_name", "device", "precision", "message"),
    [
        ("onnx", "cuda", "auto", "--engine onnx runs on the CPU; add --device cpu"),
        ("onnx", "cpu", "bf16", "computes in float32, not in --precision bf16"),
        ("tensorrt", "cpu", "auto", "--engine tensorrt is not auto, torch or onnx"),
    ],
)
def test_an_engine_that_cannot_run_is_refused(engine_name, device, precision, message) -> None:
    with pytest.raises(KitboxError, match=message):
        engine_choice.choose(engine_name, device, precision, 1000)


def test_a_gpu_and_a_half_precision_are_torchs() -> None:
    assert engine_choice.choose("auto", "cuda", "auto", 1000).engines == (TORCH,)
    assert engine_choice.choose("auto", "cpu", "bf16", 1000).engines == (TORCH,)
    assert engine_choice.choose("auto", "cpu", "auto", 1000).engines == (TORCH, ONNX)


def test_without_onnx_runtime_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(engine_choice, "find_spec", lambda _: None)
    choice = engine_choice.choose("auto", "cpu", "auto", 1000)
    assert choice.engines == (TORCH,)
    assert "pip install onnx onnxruntime" in choice.notice
    with pytest.raises(KitboxError, match="needs ONNX Runtime; install it with 'pip install"):
        engine_choice.choose("onnx", "cpu", "auto", 1000)
