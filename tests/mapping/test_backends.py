import numpy as np
import pytest
import torch

from mapping.backends import OpenVinoBackend, TorchBackend
from specialists.compiled import compile_specialist


def test_torch_backend_gives_the_specialists_own_probabilities(make_image, make_specialist):
    specialist = make_specialist()
    image = make_image(32, 32)
    image.valid[1, :4] = False
    image.pixels[1, :4] = np.nan
    batch = np.stack([image.pixels, image.pixels[:, ::-1]])
    valid = np.stack([image.valid, image.valid[:, ::-1]])
    probabilities = TorchBackend(specialist, "cpu")(batch, valid)
    expected = specialist.predict(torch.tensor(batch), valid=torch.tensor(valid)).numpy()
    assert probabilities.shape == (2, 3, 32, 32)
    assert probabilities.dtype == np.float32
    assert np.array_equal(probabilities, expected)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)


def test_torch_backend_leaves_training_mode(make_specialist):
    from specialists.model import build_specialist

    specialist = build_specialist(make_specialist(task="scene-classification").spec).train()
    TorchBackend(specialist, "cpu")
    assert not specialist.training


def test_openvino_gives_the_specialists_probabilities(make_image, make_specialist):
    pytest.importorskip("openvino")
    specialist = make_specialist()
    image = make_image(32, 32)
    image.valid[1, :4] = False
    image.pixels[1, :4] = np.nan
    batch, valid = image.pixels[None], image.valid[None]

    found = OpenVinoBackend(compile_specialist(specialist))(batch, valid)

    expected = TorchBackend(specialist, "cpu")(batch, valid)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-5)
