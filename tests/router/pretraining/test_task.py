"""Pretraining: what is not shown has no influence and counts, all else has and does not."""

from dataclasses import replace

import lightning as L
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from router.pretraining import (
    DecoderConfig,
    DistillationConfig,
    MaskingConfig,
    PretrainTask,
    Teacher,
    TrunkRecipe,
    patchify,
    unpatchify,
)
from router.pretraining.recipe import TARGETS
from sensors import Band, InputError, SarChannel

SMALL = TrunkRecipe(decoder=DecoderConfig(width=32, depth=1, num_heads=2), batch_size=16)
RGB = (Band("red", 0.66, 0.03), Band("green", 0.56, 0.03), Band("blue", 0.48, 0.03))
RADAR = (SarChannel("VV", "VV", 5.405), SarChannel("VH", "VH", 5.405))


@pytest.fixture
def make_task(make_trunk):
    def make(teacher=None, *, recipe=SMALL, **changes):
        trunk = make_trunk(**({"depth": 2} | changes))
        return PretrainTask(trunk, recipe, teacher)

    return make


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "weights.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return Teacher("test_vit", path)


def everywhere(x_BCHW):
    return torch.ones(x_BCHW.shape, dtype=torch.bool)


def seeded():
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize(
    "variant",
    [{}, {"padding": 1, "norm": "pooled", "band_reduction": "sum"}, {"sar_convention": "dofa-v1"}],
)
@pytest.mark.parametrize("shown", [None, (0, 3, 4), (5,)])
@torch.no_grad()
def test_what_is_not_seen_has_no_influence(make_task, make_image, all_bands, variant, shown):
    task = make_task(**variant)
    x_BCHW = make_image()
    valid = everywhere(x_BCHW)
    valid[:, 1, :, :10] = False

    def complete(pixels):
        return task.reconstruct(pixels, all_bands, valid, shown=shown, generator=seeded())

    made = complete(x_BCHW)
    bands_shown = torch.zeros(6, dtype=torch.bool)
    bands_shown[list(shown or range(6))] = True
    assert torch.equal(made.seen_BCHW.any((0, 2, 3)), bands_shown)
    for band in set(shown or range(6)) - {1}:
        assert (made.seen_BCHW[:, band].float().mean((1, 2)) == 0.25).all()
    assert not (made.seen_BCHW & ~valid).any()
    other = make_image().flip(0) + 0.1
    again = complete(torch.where(made.seen_BCHW, x_BCHW, other))
    assert torch.equal(made.predicted_BNPC, again.predicted_BNPC)
    assert not torch.equal(made.error(), again.error())
    again = complete(torch.where(made.seen_BCHW, other, x_BCHW))
    assert (made.predicted_BNPC - again.predicted_BNPC).abs().mean() > 1e-4


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shown", [None, (1, 2)])
@torch.no_grad()
def test_valid_pixels_that_were_not_seen_count(make_task, make_image, all_bands, shown, target):
    task = make_task(recipe=replace(SMALL, target=target))
    x_BCHW = make_image()
    valid = everywhere(x_BCHW)
    valid[:, 1, :, :20] = False
    x_BCHW[:, 2, 3, 3] = torch.nan
    made = task.reconstruct(x_BCHW, all_bands, valid, shown=shown, generator=seeded())
    assert made.error().isfinite()
    counted = unpatchify(made.counted_BNPC.flatten(2), 8, made.grid)
    assert torch.equal(counted, valid & x_BCHW.isfinite() & ~made.seen_BCHW)
    if shown:  # bands that were dropped are to be said at every patch
        assert torch.equal(counted[:, 3:], valid[:, 3:])
    scaled = task.trunk.normalize(x_BCHW, all_bands, valid & x_BCHW.isfinite())
    target = unpatchify((made.target_BNPC * made.std + made.mean).flatten(2), 8, made.grid)
    torch.testing.assert_close(target[counted], scaled[counted], atol=1e-5, rtol=1e-4)
    exact = replace(made, predicted_BNPC=made.target_BNPC)
    assert exact.error() == 0
    torch.testing.assert_close(exact.predicted_pixels()[counted], target[counted])
    stored = torch.where(valid, x_BCHW, 1e6)
    again = task.reconstruct(stored, all_bands, valid, shown=shown, generator=seeded())
    assert again.error() == made.error()


@torch.no_grad()
def test_order_of_bands_changes_nothing(make_task, make_image, all_bands):
    task = make_task()
    x_BCHW = make_image()
    order = [3, 0, 5, 1, 4, 2]
    made = task.reconstruct(x_BCHW, all_bands, everywhere(x_BCHW), generator=seeded())
    permuted = task.reconstruct(
        x_BCHW[:, order],
        [all_bands[k] for k in order],
        everywhere(x_BCHW),
        generator=seeded(),
    )
    torch.testing.assert_close(
        permuted.predicted_BNPC, made.predicted_BNPC[..., order], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(permuted.error(), made.error())


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize("size", [(8, 16), (40, 24)])
@torch.no_grad()
def test_any_number_of_bands_and_any_grid(make_task, count, size):
    task = make_task()
    centers = torch.linspace(0.42, 2.4, count).tolist()
    bands = [Band(f"B{k}", center, 0.01) for k, center in enumerate(centers)]
    x_BCHW = torch.rand(2, count, *size)
    made = task.reconstruct(x_BCHW, bands, everywhere(x_BCHW))
    assert made.error().isfinite()
    assert made.predicted_BNPC.shape == (2, size[0] * size[1] // 64, 64, count)
    assert made.predicted_pixels().shape == x_BCHW.shape


def test_images_without_a_valid_pixel_teach_nothing(make_task, make_image, all_bands, teacher):
    task = make_task(teacher)
    x_BCHW = make_image()[:, :3]
    nothing = torch.zeros(x_BCHW.shape, dtype=torch.bool)
    loss = task.reconstruct(x_BCHW, RGB, nothing).error() + task.distill(x_BCHW, RGB, nothing)
    loss.backward()
    assert loss == 0
    gradients = [p.grad for p in task.parameters() if p.grad is not None]
    assert gradients
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("variant", [{}, {"norm": "pooled"}])
def test_every_weight_learns(make_task, make_image, all_bands, teacher, variant):
    task = make_task(teacher, **variant)
    x_BCHW = make_image(40, 40)
    task.reconstruct(x_BCHW, all_bands, everywhere(x_BCHW)).error().backward()
    task.distill(x_BCHW[:, :3], RGB, everywhere(x_BCHW[:, :3])).backward()
    for name, weight in task.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
    if task.trunk.spec.sar_convention == "polarization":
        learned = task.trunk.patch_embed.channel_encoder.polarization.grad.any(1)
        assert learned.tolist() == [True, True, False, False]  # VV and VH were there


@torch.no_grad()
def test_the_distance_to_the_teacher(make_task, teacher):
    task = make_task(teacher)
    x_BCHW = torch.rand(3, 3, 32, 32) * 0.4
    valid = everywhere(x_BCHW)
    distance = task.distill(x_BCHW, RGB, valid)
    student_BD = task.projector(
        list(task.trunk.run_blocks(task.trunk.embed_patches(x_BCHW, RGB)))[-2][:, 1:].mean(1)
    )
    teacher_BD = teacher(task.trunk.normalize(x_BCHW, RGB))
    cosine_B = torch.cosine_similarity(student_BD, teacher_BD)
    torch.testing.assert_close(distance, (1 - cosine_B).mean())
    valid[1] = False
    x_BCHW[1] = torch.nan
    torch.testing.assert_close(
        task.distill(x_BCHW, RGB, valid), (1 - cosine_B[[0, 2]]).mean(), atol=1e-5, rtol=1e-4
    )
    assert task.distill(x_BCHW[:, :2], RADAR, valid[:, :2]) is None
    assert make_task().distill(x_BCHW, RGB, valid) is None


def test_the_teacher_is_neither_kept_nor_trained(make_task, teacher):
    task = make_task(teacher)
    task.train()
    assert not teacher.network.training
    inside = {id(weight) for weight in task.parameters()}
    assert not inside & {id(weight) for weight in teacher.network.parameters()}
    names = {name.split(".")[0] for name in task.state_dict()}
    assert names == {"trunk", "decoder", "projector"}


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_a_training_step_looks_at_no_more_bands_than_allowed(make_task):
    bands = tuple(Band(f"B{k}", 0.42 + k * 0.03, 0.01) for k in range(30))
    x_BCHW = torch.rand(2, 30, 16, 16)
    batch = {"image": x_BCHW, "valid": everywhere(x_BCHW), "bands": bands, "source": "many"}
    for most, expected in ((7, {7}), (None, {30}), (40, {30})):
        masking = MaskingConfig(drop_bands=0.5, max_bands=most)
        task = make_task(recipe=replace(SMALL, masking=masking))
        said, given = [], []
        task.decoder.register_forward_hook(lambda *call, to=said: to.append(call[-1].shape[-1]))
        task.trunk.patch_embed.register_forward_hook(
            lambda _, inputs, __, to=given: to.append(inputs[1])
        )
        for _ in range(12):
            assert task.training_step(batch, 0).isfinite()
        assert set(said) == expected
        counts = {len(shown) for shown in given}
        assert max(counts) == max(expected)
        assert len(counts) > 2  # some of them are dropped, too
        assert len({shown for shown in map(tuple, given) if len(shown) == 7}) != 1


# Training: pictures of stripes, whose other parts and bands follow from any of them.


def draw_stripes(bands, batches, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    signs_C11 = torch.tensor([1.0, -1.0, 1.0])[: len(bands), None, None]
    made = []
    for _ in range(batches):
        phase_B, across_B = torch.rand(2, size, 1, 1, generator=generator)
        ground_BHW = torch.where(across_B < 0.5, row, column) / 8 + phase_B
        wave_B1HW = torch.sin(2 * torch.pi * ground_BHW)[:, None]
        radar = isinstance(bands[0], SarChannel)
        image = wave_B1HW * signs_C11 * (6 if radar else 0.15) + (-14 if radar else 0.2)
        made.append(
            {
                "image": image,
                "valid": everywhere(image),
                "bands": bands,
                "source": "radar" if radar else "optical",
            }
        )
    return made


def fit(task, batches, selection, epochs):
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    torch.manual_seed(0)
    loaders = [DataLoader(part, batch_size=None) for part in (batches, selection)]
    trainer.fit(task, *loaders)
    return trainer


def test_validation_tells_every_source_and_hides_the_same(make_task):
    task = make_task(recipe=replace(SMALL, lr=0.0, weight_decay=0.0))
    selection = draw_stripes(RGB, 2, size=5) + draw_stripes(RADAR, 1, size=3)
    trainer = fit(task, draw_stripes(RGB, 1), selection, epochs=1)
    first = dict(trainer.callback_metrics)
    errors = {"optical": 0.0, "radar": 0.0}
    with torch.no_grad():
        for number, batch in enumerate(selection):
            made = task.reconstruct(
                batch["image"],
                batch["bands"],
                batch["valid"],
                generator=torch.Generator().manual_seed(number),
            )
            share = 0.5 if batch["source"] == "optical" else 1
            errors[batch["source"]] += made.error() * share
    torch.testing.assert_close(first["val_optical_mse"], errors["optical"])
    torch.testing.assert_close(first["val_radar_mse"], errors["radar"])
    torch.testing.assert_close(first["val_mse"], (errors["optical"] + errors["radar"]) / 2)
    trainer = fit(task, draw_stripes(RGB, 1, seed=1), selection, epochs=2)
    for name, value in first.items():
        if name.startswith("val"):
            torch.testing.assert_close(trainer.callback_metrics[name], value)


def test_the_learning_rate_follows_the_batch_size(make_task):
    recipe = replace(SMALL, lr=1e-3, batch_size=64, warmup=0.0)
    trainer = fit(make_task(recipe=recipe), draw_stripes(RGB, 1), draw_stripes(RGB, 1), 1)
    [optimizer] = trainer.optimizers
    for group in optimizer.param_groups:
        assert group["betas"] == (0.9, 0.95)
        assert group["initial_lr"] == 1e-3 / 4
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}


@pytest.mark.slow
def test_hidden_patches_and_dropped_bands_are_learned(make_task):
    recipe = replace(SMALL, batch_size=8, lr=0.2, warmup=0.1, target="band")
    task = make_task(recipe=recipe, generator_hidden_size=32)
    optical, radar = (draw_stripes(bands, 60, size=8) for bands in (RGB, RADAR))
    mixed = [batch for pair in zip(optical, radar, strict=True) for batch in pair]
    selection = draw_stripes(RGB, 1, seed=9) + draw_stripes(RADAR, 1, seed=9)
    trainer = fit(task, mixed, selection, epochs=1)
    assert trainer.callback_metrics["val_optical_mse"] < 0.2
    assert trainer.callback_metrics["val_radar_mse"] < 0.2
    batch = selection[0]
    with torch.no_grad():
        made = task.reconstruct(batch["image"], RGB, batch["valid"], shown=(1,), generator=seeded())
    assert made.floor() > 0.9
    assert made.error() < 0.2


@pytest.mark.slow
def test_distillation_brings_the_trunk_nearer_to_its_teacher(make_task, teacher):
    recipe = replace(SMALL, lr=0.02, distillation=DistillationConfig("test_vit", alpha=1.0))
    task = make_task(teacher, recipe=recipe)
    selection = draw_stripes(RGB, 1, seed=9)
    with torch.no_grad():
        before = task.distill(selection[0]["image"], RGB, selection[0]["valid"])
    trainer = fit(task, draw_stripes(RGB, 20) + draw_stripes(RADAR, 5), selection, epochs=1)
    with torch.no_grad():
        after = task.distill(selection[0]["image"], RGB, selection[0]["valid"])
    assert after < 0.5 * before
    assert trainer.callback_metrics["train_distillation"] < before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "image"}, "target 'image' is not one of band, patch, pixel"),
        ({"schedule": "step"}, "schedule"),
        ({"masking": MaskingConfig(ratio=0.0)}, "ratio 0.0 is not between 0 and 1"),
        ({"masking": MaskingConfig(ratio=1.0)}, "ratio 1.0"),
        ({"masking": MaskingConfig(drop_bands=1.5)}, "drop_bands 1.5"),
        ({"masking": MaskingConfig(max_bands=0)}, "max_bands 0"),
        ({"decoder": DecoderConfig(width=30)}, "multiple of 4"),
        ({"decoder": DecoderConfig(width=32, num_heads=3)}, "3 attention heads"),
        ({"decoder": DecoderConfig(depth=0)}, "depth 0"),
        ({"distillation": DistillationConfig(weights="a.pth")}, "distillation.teacher"),
        ({"distillation": DistillationConfig("test_vit", alpha=0.0)}, "alpha 0.0"),
    ],
)
def test_recipes_that_cannot_be_are_refused(make_task, changes, message):
    with pytest.raises(InputError, match=message):
        make_task(recipe=replace(SMALL, **changes))


def test_images_that_do_not_fit_are_refused(make_task, make_image, all_bands):
    task = make_task()
    x_BCHW = make_image(36, 32)
    with pytest.raises(InputError, match="32 x 32 and 40 x 32 fit"):
        task.reconstruct(x_BCHW, all_bands, everywhere(x_BCHW))
    x_BCHW = make_image(8, 8)
    with pytest.raises(InputError, match="single patch"):
        task.reconstruct(x_BCHW, all_bands, everywhere(x_BCHW))
    x_BCHW = make_image()
    with pytest.raises(InputError, match="6 channels for 3 bands"):
        task.reconstruct(x_BCHW, RGB, everywhere(x_BCHW))
    assert patchify(x_BCHW, 8).shape == (2, 16, 384)
