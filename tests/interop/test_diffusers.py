"""Folders of diffusers: the imported model gives what the library gives, whatever it predicts."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

import sumi
from sumi.errors import InputError
from sumi.interop.export import export
from sumi.interop.schedulers import read_scheduler
from sumi.interop.sources import import_run, open_source
from sumi.interop.tensors import read_json
from tests.diffusers_folders import folder, unet

TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("length", [1000, 200])
def test_x_0_of_a_unet_is_that_of_its_own_scheduler(tmp_path: Path, x: Tensor, prediction: str, length: int) -> None:
    network = unet()
    scheduler = diffusers.DDPMScheduler(length, prediction_type=prediction, clip_sample=False)
    source = open_source(folder(tmp_path / "d", network, scheduler), device="cpu")
    denoiser = source.model.gaussian_denoiser()
    assert denoiser.trained_steps == length
    for step in (0, length // 3, length - 1):
        with torch.no_grad():
            theirs = scheduler.step(network(x, step).sample, step, x, generator=torch.Generator()).pred_original_sample
            ours = denoiser(x, (step + 1) / length).clean
        scale = theirs.abs().max()
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
        ("DDPMScheduler", {"beta_schedule": "sigmoid", "num_train_timesteps": 300}),
        ("PNDMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
        ("EulerDiscreteScheduler", {"trained_betas": [0.01, 0.2, 0.3, 0.5]}),
        ("DPMSolverMultistepScheduler", {}),
        ("DDIMScheduler", {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True}),
    ],
)
def test_the_noise_levels_of_a_chain_are_those_of_its_scheduler(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    scheduler = getattr(diffusers, kind)(**settings)
    scheduler.save_pretrained(tmp_path)
    schedule = read_scheduler(read_json(tmp_path / "scheduler_config.json"), "").schedule.build()
    alpha_bar = scheduler.alphas_cumprod.double()
    t = torch.arange(1, len(alpha_bar) + 1, dtype=torch.float64) / len(alpha_bar)
    torch.testing.assert_close(schedule.alpha(t).square(), alpha_bar, rtol=0, atol=1e-6)


def test_flow_and_edm_have_their_own_levels_and_times(tmp_path: Path, x: Tensor) -> None:
    """The library's step to no noise is x̂_0."""
    network = unet()
    flow = open_source(folder(tmp_path / "flow", network, diffusers.FlowMatchEulerDiscreteScheduler()), device="cpu")
    edm = open_source(folder(tmp_path / "edm", network, diffusers.EDMEulerScheduler()), device="cpu")
    scheduler = diffusers.EDMEulerScheduler()
    with torch.no_grad():
        theirs = x - 0.3 * network(x, 300.0).sample
        torch.testing.assert_close(flow.model.gaussian_denoiser()(x, 0.3).clean, theirs, rtol=0, atol=TOLERANCE)
        scheduler.set_timesteps(5)
        sigma, time = scheduler.sigmas[2], scheduler.timesteps[2]
        scaled = scheduler.scale_model_input(x, time)
        theirs = scheduler.precondition_outputs(x, network(scaled, time).sample, sigma)
        denoiser = edm.model.gaussian_denoiser()
        t = denoiser.schedule.time(-2 * sigma.double().log())
        torch.testing.assert_close(denoiser(x, float(t)).clean, theirs, rtol=0, atol=TOLERANCE)


def test_a_class_is_the_networks_own_and_no_class_adds_nothing(tmp_path: Path, x: Tensor) -> None:
    network = unet(num_class_embeds=3)
    source = open_source(folder(tmp_path / "d", network, diffusers.DDPMScheduler()), device="cpu")
    model = source.model
    assert model.items.label_names == ("0", "1", "2")
    labels = torch.tensor([2, 0])
    bound = model.denoiser(model.condition_of(range(2), labels), threshold="none")
    with torch.no_grad():
        theirs = network(x, 499, class_labels=labels).sample
        torch.testing.assert_close(bound(x, 0.5).noise, theirs, rtol=0, atol=TOLERANCE)
        plain = unet()
        plain.load_state_dict({k: v for k, v in network.state_dict().items() if k != "class_embedding.weight"})
        unconditional = model.gaussian_denoiser()(x, 0.5).noise
        torch.testing.assert_close(unconditional, plain(x, 499).sample, rtol=0, atol=TOLERANCE)


def test_dit_has_its_classes_its_variance_and_guidance(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=2, out_channels=4, num_layers=1, sample_size=8,
        num_embeds_ada_norm=4, norm_num_groups=2,
    ).eval()  # fmt: skip
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    path = folder(tmp_path / "d", network, diffusers.DDIMScheduler(clip_sample=False))
    (path / "unet").rename(path / "transformer")
    model = open_source(path, device="cpu").model
    x, labels = torch.randn(2, 2, 8, 8), torch.tensor([1, 3])
    found = model.denoiser(model.condition_of(range(2), labels), threshold="none")(x, 0.4)
    with torch.no_grad():
        theirs = network(x, torch.tensor([399, 399]), class_labels=labels).sample
        nothing = network(x, torch.tensor([399, 399]), class_labels=torch.tensor([4, 4])).sample
    torch.testing.assert_close(found.noise, theirs[:, :2], rtol=0, atol=TOLERANCE)
    assert found.clean_variance is not None
    unconditional = model.gaussian_denoiser()(x, 0.4)
    torch.testing.assert_close(unconditional.noise, nothing[:, :2], rtol=0, atol=TOLERANCE)
    images = model.sample(2, label=labels, guidance=3.0, steps=4, solver="ddpm_learned")
    assert images.shape == (2, 2, 8, 8)
    assert images.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("AutoencoderKL", {}),
        ("AutoencoderKL", {"shift_factor": 0.2, "use_quant_conv": False, "use_post_quant_conv": False}),
        ("VQModel", {}),
    ],
)
def test_a_model_of_latents_keeps_its_autoencoder_and_its_factor(tmp_path: Path, kind: str, own: Any) -> None:
    """With the shift and without the convolutions that Stable Diffusion 3 has."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 2}
    settings |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    autoencoder, shift = (
        getattr(diffusers, kind)(**settings, **own, scaling_factor=0.3).eval(),
        own.get("shift_factor", 0),
    )
    network = unet(in_channels=2, out_channels=2)
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    path = folder(tmp_path / "d", network, scheduler, vae=autoencoder)
    source = import_run(path, tmp_path / "run", device="cpu")
    model = source.model
    assert model.images.shape == (3, 16, 16)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        encoded = autoencoder.encode(images)
        latents = encoded.latents if kind == "VQModel" else encoded.latent_dist.mean
        torch.testing.assert_close(model.space.encode(images), 0.3 * (latents - shift), rtol=0, atol=TOLERANCE)
        z = torch.randn(2, 2, 8, 8)
        theirs = autoencoder.decode(z / 0.3 + shift).sample.clamp(-1, 1)
        torch.testing.assert_close(model.space.decode(z), theirs, rtol=0, atol=TOLERANCE)
    assert sumi.load(tmp_path / "run", device="cpu").sample(1, steps=2).shape == (1, 3, 16, 16)
    export(model, "diffusers", tmp_path / "back")
    back = getattr(diffusers, kind).from_pretrained(tmp_path / "back" / "vae").config
    assert back.scaling_factor == pytest.approx(0.3, rel=1e-6)
    assert (back.get("shift_factor") or 0.0) == pytest.approx(shift, rel=1e-6)


def test_an_imported_run_is_loaded_alone_and_goes_through_all_that_samples(tmp_path: Path, x: Tensor) -> None:
    network, scheduler = unet(), diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    import_run(folder(tmp_path / "d", network, scheduler), tmp_path / "run", device="cpu")
    model = sumi.load(tmp_path / "run", device="cpu")
    noise = model.start_noise(range(2), 0, (1, 8, 8))
    scheduler.set_timesteps(10)
    expected = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            expected = scheduler.step(network(expected, t).sample, t, expected).prev_sample
    made = model.sample(2, steps=10, solver="ddim", threshold="none")
    torch.testing.assert_close(made, expected.clamp(-1, 1), rtol=0, atol=2e-5)
    image = x[0].clamp(-1, 1)
    mask = torch.zeros(8, 8)
    mask[2:5] = 1
    assert model.inpaint(image, mask, steps=4).isfinite().all()
    assert model.vary(image, 0.5, n=2, steps=4).shape == (2, 1, 8, 8)
    assert model.bits_per_dim(image[None], evaluations=20).isfinite().all()


def test_a_setting_changes_what_it_names_and_the_scheduler_says_the_rest(tmp_path: Path, x: Tensor) -> None:
    scheduler = diffusers.DDPMScheduler(200, beta_schedule="squaredcos_cap_v2", clip_sample=False)
    path, network = folder(tmp_path / "d", unet(), scheduler), unet()
    model = open_source(path, settings=["parameterization=velocity"], device="cpu").diffusion
    assert model.config.schedule == open_source(path, device="cpu").diffusion.config.schedule
    with torch.no_grad():
        alpha = scheduler.alphas_cumprod[99] ** 0.5
        theirs = alpha * x - (1 - alpha**2) ** 0.5 * network(x, 99).sample
        torch.testing.assert_close(model.gaussian_denoiser()(x, 0.5).clean, theirs, rtol=0, atol=TOLERANCE)
    model = open_source(path, settings=["schedule=linear", "schedule.steps=50"], device="cpu").diffusion
    with torch.no_grad():
        theirs = network(x, 24).sample
        torch.testing.assert_close(model.gaussian_denoiser()(x, 0.5).noise, theirs, rtol=0, atol=TOLERANCE)
    assert open_source(path, settings=["shape=1,16,24"], device="cpu").diffusion.space.shape == (1, 16, 24)
    file = path / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": None}))
    with pytest.raises(InputError, match="says no sample_size"):
        open_source(path)
    assert open_source(path, settings=["shape=1,32,32"], device="cpu").diffusion.space.shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("settings", "threshold", "note"),
    [
        ({}, "static", ""),
        ({"clip_sample_range": 1.5}, "none", "clamps x̂_0 to ±1.5; here they are not clamped"),
        ({"clip_sample_range": 0.5}, "static", "clamps x̂_0 to ±0.5; here they are clamped to ±1"),
        ({"thresholding": True}, "static", ""),
        (
            {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.95},
            "dynamic",
            "by their 0.95 quantile, at most 1.5; here it is the 0.995 quantile without a most",
        ),
        ({"thresholding": True, "sample_max_value": 1e4}, "dynamic", "by their 0.995 quantile, at most 10000"),
    ],
)
def test_what_keeps_x_0_in_range_is_the_schedulers_or_noted(
    tmp_path: Path, x: Tensor, settings: Any, threshold: str, note: str
) -> None:
    """Where nothing but a most is noted, which is above all here, x̂_0 are those of the library."""
    network, scheduler = unet(), diffusers.DDIMScheduler(**settings)
    source = open_source(folder(tmp_path / "d", network, scheduler), device="cpu")
    assert source.diffusion.config.sampling.threshold == threshold
    assert any(note in line for line in source.notes) == bool(note)
    assert open_source(tmp_path / "d", settings=["threshold=none"], device="cpu").notes == ()
    if note and "0.995 quantile, at most" not in note:
        return
    scheduler.set_timesteps(1000)
    with torch.no_grad():
        theirs = scheduler.step(network(4 * x, 900).sample, 900, 4 * x).pred_original_sample
        found = source.diffusion.denoiser(None)(4 * x, 0.901).clean
    assert theirs.abs().max() <= 1
    torch.testing.assert_close(found, theirs, rtol=0, atol=TOLERANCE)


def test_what_is_not_known_is_one_line(tmp_path: Path) -> None:
    network, scheduler = unet(), diffusers.DDPMScheduler()
    path = folder(tmp_path / "d", network, scheduler)
    config = path / "scheduler" / "scheduler_config.json"
    settings = json.loads(config.read_text())
    for change, wrong in (({"beta_schedule": "laplace"}, "laplace"), ({"prediction_type": "x"}, "prediction_type x")):
        config.write_text(json.dumps(settings | change))
        with pytest.raises(InputError, match=wrong) as error:
            open_source(path)
        assert "\n" not in str(error.value)
    config.write_text(json.dumps(settings))
    (path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        open_source(path)
    with pytest.raises(InputError, match="is not there"):
        open_source(tmp_path / "nothing")


def test_a_pickle_is_read_as_tensors_alone(tmp_path: Path, x: Tensor) -> None:
    network = unet()
    path = folder(tmp_path / "d", network, diffusers.DDPMScheduler())
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(network.state_dict(), path / "unet" / "diffusion_pytorch_model.bin")
    assert any("pickle" in note for note in open_source(path).notes)
    torch.save({"code": Path.unlink}, path / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match="code in it is not run"):
        open_source(path)
