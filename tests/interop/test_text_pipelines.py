"""Pipelines of diffusers with a text encoder: the same images there and here, and there again."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from sumi.conditioning.picture_sizes import SizesConditioning
from sumi.errors import InputError
from sumi.interop.export import export
from sumi.interop.sources import import_run, open_source
from sumi.models.run import load
from tests.diffusers_folders import folder
from tests.text_encoders import folder_with

transformers = pytest.importorskip("transformers")
LENGTH = 12


def attending(**settings: Any) -> Any:
    torch.manual_seed(1)
    network = diffusers.UNet2DConditionModel(
        **{
            "sample_size": 4,
            "in_channels": 2,
            "out_channels": 2,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "norm_num_groups": 4,
            "attention_head_dim": 4,
            "cross_attention_dim": 32,
            **settings,
        }
    ).eval()
    for name, weight in network.named_parameters():
        if "attn2" in name:  # what is attended to counts
            torch.nn.init.normal_(weight, std=0.5)
    return network


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion, as the library saves it."""
    place = tmp_path_factory.mktemp("pipeline")
    folder_with("clip", place / "words")
    tokens = transformers.AutoTokenizer.from_pretrained(place / "words", model_max_length=LENGTH)
    encoder = transformers.CLIPTextModel.from_pretrained(place / "words")
    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=2, scaling_factor=0.3,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1,
    )  # fmt: skip
    diffusers.StableDiffusionPipeline(
        vae=autoencoder, text_encoder=encoder, tokenizer=tokens, unet=attending(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(place / "sd")  # fmt: skip
    return place / "sd"


@pytest.fixture(scope="module")
def sized(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion XL: another encoder, whose tokens are padded by a word, and sizes of 4 numbers each."""
    place = tmp_path_factory.mktemp("sized")
    folders = [folder_with(*kind) for kind in (("clip", place / "1", "[SEP]"), ("projected", place / "2", "grey"))]
    tokens = [transformers.AutoTokenizer.from_pretrained(folder, model_max_length=LENGTH) for folder in folders]
    network = attending(
        cross_attention_dim=32 + 24, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=20 + 6 * 4,
    )  # fmt: skip
    diffusers.StableDiffusionXLPipeline(
        vae=diffusers.AutoencoderKL.from_pretrained(pipeline / "vae"), unet=network,
        text_encoder=transformers.CLIPTextModel.from_pretrained(folders[0]), tokenizer=tokens[0],
        text_encoder_2=transformers.CLIPTextModelWithProjection.from_pretrained(folders[1]), tokenizer_2=tokens[1],
        scheduler=diffusers.DDIMScheduler.from_pretrained(pipeline / "scheduler"), add_watermarker=False,
    ).save_pretrained(place / "sdxl")  # fmt: skip
    return place / "sdxl"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def images_of(place: Path, prompt: str, noise: torch.Tensor, **given: Any) -> torch.Tensor:
    """What the library makes of its folder, with guidance 3 in 5 steps, in [-1, 1]."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(place)
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 5, "guidance_scale": 3.0, "output_type": "pt", **given}
    found = pipe([prompt] * len(noise), height=8, width=8, latents=noise, **options)
    return 2 * found.images - 1


def test_a_prompt_gives_the_images_of_the_library_here_and_after_the_way_back(pipeline: Path, tmp_path: Path) -> None:
    source = import_run(pipeline, tmp_path / "run", device="cpu")
    assert "stays there" in source.notes[0]
    model = load(tmp_path / "run", device="cpu")
    noise = model.start_noise(range(2), 0, (2, 4, 4))
    made = model.sample(2, prompt="a red square", guidance=3.0, steps=5, solver="ddim")
    expected = images_of(pipeline, "a red square", noise)
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)
    other = model.sample(2, prompt="blue disc", guidance=3.0, steps=5, solver="ddim")
    assert float((other - made).abs().mean()) > 1e-3
    with pytest.raises(InputError, match="text encoder is not part of"):
        export(model, "onnx", tmp_path / "m.onnx")
    export(model, "diffusers", tmp_path / "back")
    torch.testing.assert_close(images_of(tmp_path / "back", "a red square", noise), expected, rtol=0, atol=2e-5)


def test_two_encoders_and_sizes_give_the_images_of_the_library_here_and_after_the_way_back(
    sized: Path, tmp_path: Path
) -> None:
    import_run(sized, tmp_path / "run", device="cpu")
    model = load(tmp_path / "run", device="cpu")
    assert model.config.conditioning[1] == SizesConditioning(8, 8)
    noise = model.start_noise(range(2), 0, (2, 4, 4))
    made = model.sample(2, prompt="a red square", guidance=3.0, steps=5, solver="ddim")
    expected = images_of(sized, "a red square", noise)
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)
    options = {"prompt": "blue disc", "guidance": 3.0, "steps": 5, "solver": "ddim"}
    other = model.sample(2, condition={"sizes": (16, 12, 1, 2, 8, 8)}, **options)
    sizes = {"original_size": (16, 12), "crops_coords_top_left": (1, 2), "target_size": (8, 8)}
    torch.testing.assert_close(other, images_of(sized, "blue disc", noise, **sizes), rtol=0, atol=2e-5)
    export(model, "diffusers", tmp_path / "back")
    torch.testing.assert_close(images_of(tmp_path / "back", "a red square", noise), expected, rtol=0, atol=2e-5)


def test_latents_with_a_mean_and_a_deviation_of_each_channel_give_the_images_of_the_library(
    sized: Path, tmp_path: Path
) -> None:
    """And pictures enter as the library's image-to-image takes them: its encoder is made certain of its latents."""
    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, scaling_factor=0.3,
        latents_mean=(0.3, -0.2, 0.0, 0.1), latents_std=(1.5, 0.5, 1.0, 0.8),
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    torch.nn.init.zeros_(autoencoder.quant_conv.weight[4:].data)
    torch.nn.init.constant_(autoencoder.quant_conv.bias[4:].data, -30)
    plain = diffusers.StableDiffusionXLPipeline.from_pretrained(sized)
    network = attending(**{**plain.unet.config, "in_channels": 4, "out_channels": 4})
    diffusers.StableDiffusionXLPipeline(
        **{**plain.components, "vae": autoencoder, "unet": network}, add_watermarker=False
    ).save_pretrained(tmp_path / "sdxl")
    model = open_source(tmp_path / "sdxl", device="cpu").diffusion
    noise = model.start_noise(range(2), 0, (4, 4, 4))
    made = model.sample(2, prompt="a red square", guidance=3.0, steps=5, solver="ddim")
    expected = images_of(tmp_path / "sdxl", "a red square", noise)
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pipe = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(tmp_path / "sdxl")
    taken = pipe.prepare_latents(pictures, None, 2, 1, torch.float32, "cpu", torch.Generator(), add_noise=False)
    torch.testing.assert_close(model.space.encode(pictures), taken, rtol=0, atol=5e-6)
    export(model, "diffusers", tmp_path / "back")
    torch.testing.assert_close(images_of(tmp_path / "back", "a red square", noise), expected, rtol=0, atol=2e-5)
    file = tmp_path / "sdxl" / "vae" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"latents_mean": [0.3]}))
    with pytest.raises(InputError, match="latents_mean has 1 numbers for 4 channels"):
        open_source(tmp_path / "sdxl")


def test_a_network_of_two_encoders_is_the_library_s_at_any_sizes(sized: Path) -> None:
    """Two prompts that count together have the mean of their summaries, whatever a word of one counts."""
    source, pipe = open_source(sized, device="cpu"), diffusers.DiffusionPipeline.from_pretrained(sized)
    model, sizes, x = source.diffusion, (16.0, 12.0, 1.0, 2.0, 8.0, 8.0), torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        (a, _, one, _), (b, _, two, _) = (
            pipe.encode_prompt(text, do_classifier_free_guidance=False) for text in ("a red square", "blue disc")
        )
        for (
            prompt,
            states,
            summary,
            rounding,
        ) in (  # a weight is added to logits as ln 3, which rounds otherwise than tokens
            ("a red square", a, one, 2e-6),
            ("a red square ~ blue disc", (a, b), (one + two) / 2, 2e-6),
            ("a (red:3) square ~ blue disc", (a, a[:, 2:3], a[:, 2:3], b), (one + two) / 2, 2e-5),
        ):
            condition = model.condition_of(range(1), None, {"sizes": sizes}, prompt=prompt)
            found = model.denoiser(condition, threshold="none")(x, 0.4)
            tokens = states if torch.is_tensor(states) else torch.cat(states, 1)
            added = {"text_embeds": summary, "time_ids": torch.tensor([sizes])}
            output = pipe.unet(x, 399, tokens, added_cond_kwargs=added).sample
            alpha = pipe.scheduler.alphas_cumprod[399] ** 0.5
            expected = alpha * x - (1 - alpha**2) ** 0.5 * output
            torch.testing.assert_close(found.clean, expected, rtol=0, atol=rounding)
    with pytest.raises(InputError, match=r"condition\.sizes: are of shape \(2,\)"):
        model.condition_of(range(1), None, {"sizes": (8, 8)})


def test_a_word_that_counts_w_times_has_w_times_the_weight_in_attention(pipeline: Path) -> None:
    """The library adds its mask to the logits, so that a weight of 2 adds ln 2; padding counts as words do."""
    model = open_source(pipeline, device="cpu").diffusion
    assert model.text is not None
    condition = model.condition_of(range(1), None, prompt="a (red:2) square")
    assert condition is not None
    assert condition["text_weights"][0, 0].tolist() == [1.0, 1.0, 2.0, *[1.0] * (LENGTH - 3)]
    entered = model.text(condition)
    assert entered.tokens is not None
    assert entered.log_weights is not None
    assert entered.tokens.shape == (1, LENGTH, 32)
    network = model.gaussian_denoiser().network
    x, time = torch.randn(1, 2, 4, 4), torch.tensor([300.0])
    twice = torch.cat([entered.tokens, entered.tokens[:, 2:3]], 1)
    with torch.no_grad():
        found = network(x, time, entered)
        expected = network.of_library(x, time, twice).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_states_of_elsewhere_are_given_where_there_is_no_encoder(tmp_path: Path) -> None:
    network = attending(num_class_embeds=3)
    source = open_source(folder(tmp_path / "d", network, diffusers.DDPMScheduler()), device="cpu")
    model, x = source.diffusion, torch.randn(2, 2, 4, 4)
    states, labels = torch.randn(2, 5, 32), torch.tensor([2, 0])
    assert "condition=" in source.notes[0]
    condition = model.condition_of(range(2), labels, {"states": states})
    found = model.denoiser(condition, threshold="none")(x, 0.5).noise
    with torch.no_grad():
        expected = network(x, 499, states, class_labels=labels).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert model.sample(2, label=1, condition={"states": states[0]}, steps=2).isfinite().all()
    for wrong in (torch.randn(5, 31), torch.randn(3, 5, 32), torch.randn(78, 32)):
        with pytest.raises(InputError, match=r"condition\.states: are of shape"):
            model.condition_of(range(2), None, {"states": wrong})


def test_what_enters_otherwise_is_refused_by_name(pipeline: Path, tmp_path: Path) -> None:
    network = attending()
    path = folder(tmp_path / "d", network, diffusers.DDPMScheduler())
    file = path / "unet" / "config.json"
    config = json.loads(file.read_text())
    changes = {"in_channels": 9, "addition_embed_type": "text_time", "time_cond_proj_dim": 8}
    for name, value in changes.items():
        file.write_text(json.dumps(config | {name: value}))
        with pytest.raises(
            InputError, match=r"is a condition that is not known|is not known here|only of Stable Diffusion XL"
        ):
            open_source(path)
    file = pipeline / "unet" / "config.json"
    kept = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(kept) | {"cross_attention_dim": 16}))
        with pytest.raises(InputError, match="text_encoder has 32"):
            open_source(pipeline)
    finally:
        file.write_text(kept)


def test_an_encoder_that_is_another_by_now_is_refused(pipeline: Path, tmp_path: Path) -> None:
    import_run(pipeline, tmp_path / "run", device="cpu")
    file = pipeline / "tokenizer" / "tokenizer_config.json"
    kept = file.read_text()
    try:
        file.write_text(kept + "\n")
        with pytest.raises(InputError, match="has other files than the run was trained with"):
            load(tmp_path / "run", device="cpu")
    finally:
        file.write_text(kept)
