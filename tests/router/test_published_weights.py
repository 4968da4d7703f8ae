"""Files in the layouts that are published, written by the tests with the small size's names.

Tensor shapes: B batch, C bands, N patches, D width.
"""

from dataclasses import replace

import huggingface_hub
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from router import TRUNKS, build_trunk
from router.published_weights import load_published
from router.trunk_spec import DOFA_V1, DOFA_V2
from sensors import Band, InputError, SarChannel

SMALL, BASE = TRUNKS["dofa-small"], TRUNKS["dofa-base"]
BANDS = (Band("red", 0.665, 0.03), Band("nir", 0.842, 0.1), SarChannel("VV", "VV", 5.405))


@pytest.fixture(scope="module")
def version_1():
    """Tensors of a small network of version 1, without its head and last norm."""
    torch.manual_seed(0)
    tensors = build_trunk(replace(SMALL, **DOFA_V1)).state_dict()
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("fc_norm.")}


@pytest.fixture(scope="module")
def version_2():
    """A small network of version 2: timm's blocks without their patch embedding, and the file."""
    torch.manual_seed(0)
    size = {"embed_dim": SMALL.width, "depth": SMALL.depth, "num_heads": SMALL.num_heads}
    network = VisionTransformer(patch_size=14, init_values=1e-5, num_classes=0, **size).eval()
    torch.nn.init.normal_(network.pos_embed)
    for name, weight in network.named_parameters():
        if "gamma" in name:
            torch.nn.init.normal_(weight)
    embedding = build_trunk(replace(SMALL, **DOFA_V2)).patch_embed
    tensors = {f"patch_embed.{name}": value for name, value in embedding.state_dict().items()}
    tensors |= {
        f"model.{name}": value
        for name, value in network.state_dict().items()
        if not name.startswith("patch_embed.")
    }
    tensors |= {"norm.weight": torch.ones(SMALL.width), "norm.bias": torch.zeros(SMALL.width)}
    return network, embedding, tensors


PRETRAINING = {
    "mask_token": torch.zeros(1, 1, 512),
    "norm.weight": torch.full((384,), 2.0),
    "norm.bias": torch.zeros(384),
    "projector.weight": torch.zeros(768, 384),
    "projector.bias": torch.zeros(768),
}


@pytest.mark.parametrize("kind", ["official", "torchgeo", "fine-tuned", "safetensors"])
def test_version_1_loads(version_1, tmp_path, kind):
    path = tmp_path / ("v1.safetensors" if kind == "safetensors" else "v1.pth")
    tensors = dict(version_1)
    norm = {"fc_norm.weight": torch.full((384,), 3.0), "fc_norm.bias": torch.full((384,), 0.5)}
    if kind == "official":
        tensors |= PRETRAINING
    if kind == "fine-tuned":
        tensors |= norm | {"head.weight": torch.zeros(5, 384), "head.bias": torch.zeros(5)}
    save_file(tensors, path) if kind == "safetensors" else torch.save(tensors, path)
    trunk = load_published(path)
    assert trunk.spec == replace(SMALL, **DOFA_V1)
    assert trunk.spec.sar_convention == "dofa-v1"
    assert not trunk.training
    loaded = trunk.state_dict()
    for name, tensor in version_1.items():
        assert torch.equal(loaded[name], tensor), name
    assert trunk.fc_norm.weight[0] == (3 if kind == "fine-tuned" else 1)
    with torch.no_grad():
        assert trunk.embed(torch.rand(1, 3, 32, 32), BANDS).isfinite().all()


@torch.no_grad()
def test_version_2_gives_the_features_of_its_network(version_2, tmp_path):
    network, embedding, tensors = version_2
    torch.save(tensors, tmp_path / "v2.pth")
    trunk = load_published(tmp_path / "v2.pth")
    assert trunk.spec == replace(SMALL, **DOFA_V2)
    trunk.set_statistics(BANDS, [0.0] * 3, [1.0] * 3)
    x_BCHW = torch.randn(1, 3, 224, 224)
    placeholder = Band("radar", 5.405, 0.1)
    filters_CKKD, bias_D = embedding.generate([*BANDS[:2], placeholder])
    patches = F.conv2d(x_BCHW, filters_CKKD.permute(3, 0, 1, 2), bias_D, stride=14, padding=1)
    tokens = network._pos_embed(patches.flatten(2).transpose(1, 2))
    wanted = network.norm(network.blocks(tokens))
    found = trunk.forward_tokens(x_BCHW, BANDS)
    assert (found - wanted).norm() < 1e-5 * wanted.norm()
    vector = wanted[:, 1:].mean(1)
    assert (trunk.embed(x_BCHW, BANDS) - vector).norm() < 1e-5 * vector.norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.3.norm1.weight": None}, "missing blocks.3.norm1.weight; unexpected none"),
        ({"decoder.weight": torch.ones(2)}, "missing none; unexpected decoder.weight"),
        ({"cls_token": None}, "class token of width 0 and 12 blocks, known are 160 x 5, 384 x 12"),
        ({"cls_token": torch.ones(1, 1, 96)}, "class token of width 96 and 12 blocks"),
        ({"cls_token": torch.ones(1, 1, 768)}, r"blocks.0.attn.proj.bias is float32 \(384,\)"),
        ({"pos_embed": torch.ones(1, 257, 384)}, r"should be float32 \(1, 197, 384\)"),
        ({"cls_token": torch.full((1, 1, 384), torch.nan)}, "not finite: cls_token"),
    ],
)
def test_a_wrong_file_is_refused_with_what_differs(version_1, tmp_path, change, message):
    tensors = {name: value for name, value in (version_1 | change).items() if value is not None}
    torch.save(tensors, tmp_path / "v1.pth")
    with pytest.raises(InputError, match=message):
        load_published(tmp_path / "v1.pth")


class Payload:
    """Would run a command when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w')",)


def test_pickles_and_other_contents_are_refused_unread(version_1, tmp_path):
    path, trace = tmp_path / "v1.pth", tmp_path / "trace"
    torch.save(version_1 | {"payload": Payload(trace)}, path)
    with pytest.raises(InputError, match="cannot be read as weights: UnpicklingError"):
        load_published(path)
    assert not trace.exists()
    for content in ({"model": version_1}, [torch.ones(1)]):
        torch.save(content, path)
        with pytest.raises(InputError, match="does not hold a state dict"):
            load_published(path)
    path.write_bytes(b"weights")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_published(path)
    with pytest.raises(InputError, match="is not a file; give a local"):
        load_published(tmp_path / "none.pth")


def test_without_a_network_the_hub_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"v1.pth of a/b cannot be fetched.*give the local path"):
        load_published("a/b", "v1.pth")
