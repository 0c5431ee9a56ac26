"""Necks: batch or layer normalisation, and embeddings in slices of unit length."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from kitbox.network import inference
from kitbox.network.network import Network
from tests.photographs import tiny

BATCH = torch.randint(
    0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
)


def sliced(learners: int = 4, **given: object) -> Network:
    torch.manual_seed(0)
    return Network(tiny(divide={"learners": learners}, **given)).eval()


@pytest.mark.parametrize("neck", ["none", "batchnorm", "layernorm"])
def test_each_learners_slice_has_unit_length(neck: str) -> None:
    with torch.inference_mode():
        embeddings = sliced(neck=neck)(BATCH)
    assert embeddings.shape == (4, 16)
    torch.testing.assert_close(embeddings.reshape(4, 4, 4).norm(dim=2), torch.ones(4, 4))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.full((4,), math.sqrt(4)))


def test_slices_are_those_of_the_neck_in_their_order() -> None:
    network = sliced(learners=2)
    with torch.inference_mode():
        plain = network.neck(network.pool(BATCH))
        expected = torch.cat(
            [nn.functional.normalize(plain[:, place : place + 8]) for place in (0, 8)], dim=1
        )
        torch.testing.assert_close(network(BATCH), expected)


def test_the_cosine_of_sliced_embeddings_is_the_mean_of_their_slices_cosines() -> None:
    network = sliced()
    vectors, _ = next(
        inference.embed_batches(network, [(BATCH, torch.arange(4))], device="cpu", precision="32")
    )
    with torch.inference_mode():
        parts = network(BATCH).reshape(4, 4, 4)
    expected = torch.einsum("ikd,jkd->ijk", parts, parts).mean(2)
    np.testing.assert_allclose(vectors @ vectors.T, expected.numpy(), atol=1e-5)


def test_each_slice_of_the_projection_starts_as_a_layer_of_its_own() -> None:
    network = sliced(learners=2, embedding_dim=512)
    channels = network.channels
    for rows in network.neck[0].weight.detach().chunk(2):
        # Glorot and Bengio, AISTATS 2010: by the sides of the slice, not of the whole matrix
        assert float(rows.std()) == pytest.approx(math.sqrt(2 / (channels + 256)), rel=0.02)


def test_layer_normalisation_takes_mean_and_variance_out_of_each_embedding() -> None:
    network = Network(tiny(neck="layernorm")).train()
    with torch.no_grad():
        embeddings = network(BATCH)
    torch.testing.assert_close(embeddings.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(embeddings.var(1, correction=0), torch.ones(4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("neck", ["none", "batchnorm", "layernorm"])
@pytest.mark.parametrize("pooling", ["average", "gem", "gem_learned"])
def test_embeddings_and_gradients_are_finite_in_bfloat16(neck: str, pooling: str) -> None:
    torch.manual_seed(0)
    network = Network(
        tiny(neck=neck, pooling=pooling, pooled_maps=(3, 4), divide={"learners": 4}, drop_path=0.2)
    ).train()
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = network(BATCH)
    assert embeddings.dtype == torch.float32
    (embeddings @ torch.randn(16)).square().sum().backward()
    learning = [p for p in network.parameters() if p.requires_grad]
    assert all(torch.isfinite(p.grad).all() for p in learning)
    assert torch.isfinite(embeddings).all()
