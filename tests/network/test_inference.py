"""Inference: vectors of unit length, and devices and precisions that exist."""

import sys

import numpy as np
import pytest
import torch

from kitbox.errors import KitboxError
from kitbox.network import inference
from kitbox.network.network import Network
from tests.photographs import tiny


def test_vectors_have_unit_length_and_the_network_keeps_its_mode() -> None:
    network = Network(tiny()).train()
    batches = [(torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8), torch.arange(3))]
    for precision in ("32", "bf16"):
        vectors = list(inference.embed_batches(network, batches, device="cpu", precision=precision))
        assert vectors[0][0].shape == (3, 16)
        np.testing.assert_allclose(np.linalg.norm(vectors[0][0], axis=1), 1, atol=1e-5)
    assert network.training


def test_devices_and_precisions_are_those_of_torch_though_it_is_not_always_asked() -> None:
    assert inference.resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    half = torch.ops.mkldnn._is_mkldnn_fp16_supported()
    bf16 = "bf16" if torch.cpu._is_avx512_bf16_supported() else "32"
    assert inference.resolve_precision("auto", "cpu") == ("16" if half else bf16)
    assert inference.resolve_precision("auto", "cpu", training=True) == bf16


def test_torch_is_asked_of_a_processor_without_known_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_processor_flags", lambda: None)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert inference._computes_in.__wrapped__("bf16")


@pytest.mark.skipif(not inference._is_pc(), reason="needs the flags of Linux on x86")
@pytest.mark.parametrize(
    ("flags", "precision"),
    [({"avx2"}, "32"), ({"avx512f"}, "32"), ({"avx512f", "avx512_bf16"}, "bf16")],
)
def test_a_processor_whose_flags_say_enough_is_known_without_torch(
    flags: set[str], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_processor_flags", lambda: flags)
    monkeypatch.setattr(inference, "_computes_in", inference._computes_in.__wrapped__)
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails
    assert inference.resolve_precision("auto", "cpu") == precision


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inference.resolve_device("gpu"), "--device gpu is not auto, cpu or cuda"),
        (lambda: inference.resolve_precision("8", "cpu"), "--precision 8 is not auto, 32"),
        (
            lambda: inference.resolve_precision("16", "cpu", training=True),
            "--precision 16 is not supported for training on a CPU; use 32",
        ),
    ],
)
def test_unavailable_devices_and_precisions_are_refused(call, message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        call()
