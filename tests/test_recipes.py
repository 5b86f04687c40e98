"""Every recipe: the parts and numbers of its paper, and a run that trains, resumes bit for bit, and samples.

The networks are tiny; what is asserted of the training is that it is a function of its configuration.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sumi
from sumi.boundary.config import describe, from_json, to_json
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.data.builtin.vectors import ring_log_density
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.load import load as load_data
from sumi.data.vectors import VectorSpec
from sumi.denoising.binomial import BinomialLoss
from sumi.denoising.parameterization import PredictBoundedClean
from sumi.denoising.weighting import EDMWeighting, FlowWeighting, LikelihoodWeighting, SNRWeighting, StepLikelihood
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser, build_loss, build_times
from sumi.models.diffusion.likelihood import likelihood
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.adm import ADMConfig
from sumi.networks.mlp import MLPConfig
from sumi.objectives.bound import ChainBoundLoss, HybridLoss, WholeBoundLoss
from sumi.objectives.denoising import DenoisingLoss
from sumi.objectives.schedule import VarianceMinimisingLoss
from sumi.objectives.times import LogitNormalTimes
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM, VE, Ladder
from sumi.recipes import RECIPES, build, jit
from sumi.sampling.solvers import SOLVERS

DIGITS, VECTORS, BITS = ImageSpec(1, 8, 8, 17, ()), VectorSpec(2, None), VectorSpec(20, 2)
UNET = ["network.widths=32", "network.blocks=1", "network.embedding=32"]
MLP = ["network.width=16", "network.blocks=1", "network.embedding=8"]
QUICK = ["training.batch_size=8", "training.sample_every=0", "training.checkpoint_every=2", "training.warmup_steps=0"]

OF_IMAGES = (
    "classifier-free",
    "guided",
    "inpaint",
    "upscale",
    "colourise",
    "latent",
    "dit",
)  # points have no classes, sizes or colours
BASELINES = ("vae", "gan", "pixelcnn")
CLASSIFIERS = ("noisy-classifier", "symbol-classifier")
OF_TEXT = ("text-to-image", "stable-diffusion", "imagen", "unclip")
OF_SOUND = ("audio", "diffwave")
DIFFUSION = [
    name
    for name in RECIPES
    if name
    not in (*CLASSIFIERS, "autoencoder", "judge", "clip", "molecules", "symbols", *OF_SOUND, *OF_TEXT, *BASELINES)
]  # which have tests of their own
TINY = {
    "guided": [*UNET, "network.attention=", "network.head_width=32"],
    "jit": ["network.width=32", "network.blocks=2", "network.embedding=32"],
    "latent": [
        *(*UNET, "network.attention=", "autoencoder.steps=20", "autoencoder.network.widths=32"),
        "autoencoder.network.blocks=1",
    ],
    "dit": [
        *("network.width=32", "network.blocks=2", "network.embedding=32", "autoencoder.steps=20"),
        *("autoencoder.network.widths=32", "autoencoder.network.blocks=1"),
    ],
}
RUNS = [
    *[(name, "digits") for name in DIFFUSION],
    ("nonequilibrium", "swiss-roll"),
    ("nonequilibrium", "heartbeat"),
    ("energy", "ring-of-8"),
    ("ncsn", "ring-of-8"),
    ("vdm", "ring-of-8"),
]


def recipe(name: str, source: str = "digits", *settings: str) -> DiffusionConfig:
    return override(build(name, DataConfig(source=source)), settings)


def loss_of(config: DiffusionConfig, items=DIGITS):
    tiny = override(config, UNET if isinstance(items, ImageSpec) else MLP)
    return build_loss(tiny, build_denoiser(tiny, items), items.levels)


# the parts of each paper


def test_there_are_these() -> None:
    assert list(RECIPES) == [
        "ddpm",
        "improved-ddpm",
        "classifier-free",
        "guided",
        "noisy-classifier",
        "inpaint",
        "upscale",
        "colourise",
        "nonequilibrium",
        "ncsn",
        "energy",
        "score-sde",
        "vdm",
        "edm",
        "flow",
        "jit",
        "consistency",
        "mean-flow",
        "latent",
        "dit",
        "text-to-image",
        "stable-diffusion",
        "imagen",
        "unclip",
        "audio",
        "diffwave",
        "symbols",
        "symbol-classifier",
        "autoencoder",
        "clip",
        "judge",
        *BASELINES,
        "molecules",
    ]
    with pytest.raises(InputError, match=r"^recipe 'vmd': there is no such recipe; did you mean vdm\?$"):
        recipe("vmd")


@pytest.mark.parametrize(("side", "latents"), [(64, (4, 16, 16)), (128, (8, 16, 16))])
def test_stable_diffusion_has_latents_of_16_by_16(side: int, latents: tuple[int, ...]) -> None:
    spec = ImageSpec(3, side, side, 256, ())
    config = build("stable-diffusion", DataConfig("characters"), spec)
    assert config.autoencoder.denoised(spec).shape == latents
    assert (config.schedule.name, config.parameterization.name, config.weighting.name) == ("flow", "flow", "flow")
    assert config.times == LogitNormalTimes(mean=0.6)


@pytest.mark.parametrize("name", OF_TEXT)
def test_words_guide_by_the_largest_scale_that_costs_nothing(name: str) -> None:
    """By docs/results/conditioning.md; a run keeps the scale that its configuration states."""
    config = sumi.configure(name)
    assert config.sampling.guidance.scale == 2.0
    old = override(config, ["sampling.guidance=2.5"])
    assert from_json(type(config), to_json(old)).sampling.guidance.scale == 2.5


def test_ddpm() -> None:
    """Ho et al. 2020, section 4: β from 1e-4 to 0.02, T = 1000, ε, L_simple, averaged weights."""
    config = recipe("ddpm")
    assert config.schedule == LinearBeta(steps=1000, beta_start=1e-4, beta_end=0.02)
    assert (config.parameterization.name, config.weighting.name, config.variance.name) == ("noise", "snr", "fixed")
    assert (config.times.name, config.times.grid, config.training.ema_decay) == ("grid", 1000, 0.9999)
    assert loss_of(config) == DenoisingLoss(SNRWeighting())


def test_improved_ddpm() -> None:
    """Nichol & Dhariwal 2021: cosine with s = 0.008, the learned variance, L_simple + 0.001 L_vlb; or L_vlb alone, with
    ten losses of each time kept."""
    config = recipe("improved-ddpm")
    assert config.schedule == CosineBeta(steps=1000, s=0.008, max_beta=0.999)
    assert (config.variance.name, config.variance.bound_weight) == ("learned", 1e-3)
    assert SOLVERS[config.sampling.solver].variance == "learned"
    loss = loss_of(config)
    assert isinstance(loss, HybridLoss)
    assert (loss.weighting, loss.bound_weight, loss.bound.steps, loss.bound.levels) == (SNRWeighting(), 1e-3, 1000, 17)
    config = recipe("improved-ddpm", "digits", "weighting=likelihood", "times=importance")
    assert isinstance(loss_of(config), ChainBoundLoss)
    times = build_times(config, build_denoiser(override(config, UNET), DIGITS))
    assert (times.grid, times.history, times.divides) == (1000, 10, True)


def test_nonequilibrium() -> None:
    """Sohl-Dickstein et al. 2015: the bound, few steps, a schedule learned with β_1 fixed; for bits the binomial
    process, erasing the same share of the information each step (section 2.4.1)."""
    for source, items in (("digits", DIGITS), ("swiss-roll", VECTORS)):
        config = recipe("nonequilibrium", source)
        assert (config.process.name, config.schedule.name, config.weighting.name) == (
            "gaussian",
            "learned_chain",
            "likelihood",
        )
        assert config.schedule.steps == config.times.grid == config.sampling.steps == 40
        loss = loss_of(config, items)
        assert isinstance(loss.weighting, StepLikelihood)
        assert loss.weighting.schedule.logits.requires_grad
    config = recipe("nonequilibrium", "heartbeat")
    assert (config.process.name, config.schedule.name, config.sampling.solver) == ("binomial", "erasing", "binomial")
    assert loss_of(config, BITS) == BinomialLoss(40)
    betas = config.schedule.build().betas(40)
    torch.testing.assert_close(betas, 1 / torch.arange(40, 0, -1, dtype=torch.float64), rtol=1e-12, atol=0)


def test_ncsn() -> None:
    """Song & Ermon 2019, section 5: ten levels from 1 to 0.01 of [0, 1], here twice that; 100 iterations with
    δ_i = 2e-5 σ_i²/σ_10², which is 0.2 σ_i²; the error of the score times σ²."""
    config = recipe("ncsn")
    assert config.schedule == Ladder(sigma_min=0.02, sigma_max=2.0, steps=10)
    assert config.times.grid == config.sampling.steps == 10
    solver = SOLVERS[config.sampling.solver]
    assert (solver.corrections, solver.step_size) == (100, pytest.approx(2e-5 / 0.01**2))
    assert loss_of(config) == DenoisingLoss(SNRWeighting())
    ratios = config.schedule.build().sigma(torch.arange(1, 11).double() / 10)
    torch.testing.assert_close(ratios[1:] / ratios[:-1], torch.full((9,), 100 ** (1 / 9)).double())
    assert config.sampling.threshold == "none"


def test_energy() -> None:
    config = recipe("energy", "ring-of-8")
    assert config.schedule == VE(sigma_min=0.01, sigma_max=3.0)
    assert (config.parameterization.name, config.sampling.solver) == ("energy", "langevin")
    assert loss_of(config, VECTORS) == DenoisingLoss(SNRWeighting())
    denoiser = build_denoiser(override(config, MLP), VECTORS)
    assert denoiser.network.energy(torch.zeros(3, 2), torch.zeros(3)).shape == (3,)


def test_score_sde() -> None:
    """Song et al. 2021, appendix C: β from 0.1 to 20 and t from 1e-5; sub-VP and VE to 50 by name."""
    config = recipe("score-sde")
    assert config.schedule == VP(beta_min=0.1, beta_max=20.0)
    assert (config.times.name, config.times.start, config.parameterization.name) == ("uniform", 1e-5, "noise")
    assert loss_of(config) == DenoisingLoss(SNRWeighting())
    sub, exploding = (recipe("score-sde", "digits", f"schedule={name}").schedule for name in ("sub_vp", "ve"))
    assert (sub.beta_min, sub.beta_max) == (0.1, 20.0)
    assert (exploding.sigma_min, exploding.sigma_max) == (0.01, 50.0)
    assert loss_of(recipe("score-sde", "digits", "weighting=likelihood")) == DenoisingLoss(LikelihoodWeighting())


def test_vdm() -> None:
    """Kingma et al. 2021: γ from -13.3 to 5 at the start, both learned; 1024 sigmoids; even times; and, appendix C,
    sin(2^n π x) for n = 7, 8, whose periods are two levels of an 8-bit pixel and one."""
    config = recipe("vdm", "fashion")
    assert (config.schedule.gamma_min, config.schedule.gamma_max, config.schedule.width) == (-13.3, 5.0, 1024)
    assert config.schedule.learn_ends
    assert config.stratified_times
    assert config.network.fourier == (7, 8)
    assert isinstance(loss_of(config, ImageSpec(1, 28, 28, 256, ())), WholeBoundLoss)
    assert isinstance(loss_of(recipe("vdm", "fashion", "schedule.learn_ends=false")), VarianceMinimisingLoss)
    coarse = recipe("vdm", "digits").network.fourier  # 17 levels, 2/16 apart
    for n, periods in zip(coarse, (2, 1), strict=True):
        assert 2 * np.pi / (2**n * np.pi) == periods * 2 / 16
    assert recipe("vdm", "ring-of-8").network == MLPConfig()


def test_edm() -> None:
    """Karras et al. 2022, table 1: σ from 0.002 to 80, ρ = 7, P_mean = -1.2, P_std = 1.2, σ_data = 0.5, Heun with 18
    steps; the weight times c_out² is 1."""
    config = recipe("edm")
    assert config.schedule == EDM(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    assert (config.times.mean, config.times.std) == (-1.2, 1.2)
    assert (config.parameterization.name, config.parameterization.sigma_data) == ("edm", 0.5)
    assert (config.sampling.solver, config.sampling.steps, config.sampling.time_grid) == ("heun", 18, "karras")
    assert loss_of(config) == DenoisingLoss(EDMWeighting(0.5))
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64)
    now = config.schedule.build().noise_level(config.schedule.build().time(-2 * sigma.log()))
    weight = config.weighting.weight(now) * config.parameterization.coefficients(now).c_out ** 2
    assert weight.tolist() == pytest.approx([1, 1, 1])


def test_guided() -> None:
    """Dhariwal & Nichol 2021: heads of 64 channels at several resolutions, cosine, learned variance, hybrid loss."""
    config = recipe("guided")
    assert isinstance(config.network, ADMConfig)
    assert (config.network.head_width, config.network.attention) == (64, (1, 2))
    assert (config.schedule, config.variance.name) == (CosineBeta(), "learned")
    assert ([c.name for c in config.conditioning], config.sampling.solver) == (["labels"], "ddpm_learned")


def test_flow() -> None:
    """x_t = (1 - t) x_0 + t ε, u = ε - x_0 with its plain error, log(t/(1 - t)) ~ N(0, 1)."""
    config = recipe("flow")
    assert config.schedule == Flow()
    assert (config.parameterization.name, config.times.name) == ("flow", "logit_normal")
    assert (config.times.mean, config.times.std) == (0.0, 1.0)
    assert loss_of(config) == DenoisingLoss(FlowWeighting())


def test_jit() -> None:
    """Li & He 2025: x_0 from a transformer on large patches, the velocity's loss, times of logit 0.8 ± 0.8, Heun."""
    config = recipe("jit")
    assert (config.schedule, config.parameterization, config.weighting.name) == (Flow(), PredictBoundedClean(), "flow")
    assert (config.times.name, config.times.mean, config.times.std) == ("logit_normal", 0.8, 0.8)
    assert (config.network.name, config.network.patch, config.sampling.solver) == ("transformer", 2, "heun")
    assert jit.recipe(DataConfig("digits"), replace(DIGITS, height=64, width=48)).network.patch == 6


def test_dit() -> None:
    """Peebles & Xie 2023, sections 3.1 and 4: DDPM's process in latents, a transformer on patches of 2x2 of them that
    predicts ε; and v, or the learned variance, by name."""
    config = recipe("dit")
    assert config.schedule == LinearBeta(steps=1000, beta_start=1e-4, beta_end=0.02)
    assert (config.autoencoder.name, config.network.name, config.network.patch) == ("trained", "transformer", 2)
    assert (config.parameterization.name, config.training.ema_decay) == ("noise", 0.9999)
    assert recipe("dit", "digits", "parameterization=velocity").parameterization.name == "velocity"
    learned = recipe("dit", "digits", "variance=learned", "sampling.solver=ddpm_learned", "network.patch=1")
    assert isinstance(build_loss(learned, build_denoiser(learned, DIGITS), None), HybridLoss)


@pytest.mark.parametrize("name", [name for name in DIFFUSION if name not in OF_IMAGES])
def test_on_vectors_the_network_is_a_perceptron_and_points_lie_anywhere(name: str) -> None:
    for source, items in (("swiss-roll", VECTORS), ("heartbeat", BITS)):
        config = recipe(name, source)
        assert config.network == MLPConfig()
        assert config.sampling.threshold == "none"
        assert (config.training.precision, config.training.decay) == ("fp32", "cosine")
        build_denoiser(config, items)


# what each says of itself


@pytest.mark.parametrize(("name", "source"), RUNS)
def test_every_field_has_a_meaning_and_comes_back_from_json(name: str, source: str, capsys) -> None:
    config = recipe(name, source)
    fields = list(describe(config))
    assert all(meaning for _, _, meaning in fields), [field for field, _, meaning in fields if not meaning]
    assert len({field for field, _, _ in fields}) == len(fields)
    assert from_json(DiffusionConfig, json.loads(json.dumps(to_json(config)))) == config
    if source == "digits":
        assert main(["recipes", name]) == 0
        condition = capsys.readouterr().out
        assert all(field in condition for field in ("schedule", "variance", "process", "times", "sampling.solver"))


def test_the_list_has_a_line_for_each(capsys) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(RECIPES)]] == list(RECIPES)
    assert all(len(line.split()) > 3 for line in lines)


# training


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / f"checkpoints/{step:08d}"
    return {
        f"{part}.{name}": value
        for part in ("model", "ema", "optimizer")
        for name, value in load_file(folder / f"{part}.safetensors").items()
    }


VARIANTS = [
    *[(*run, ()) for run in RUNS],
    ("improved-ddpm", "digits", ("weighting=likelihood", "times=importance")),
    ("score-sde", "digits", ("schedule=sub_vp",)),
    ("score-sde", "digits", ("schedule=ve",)),
    ("score-sde", "digits", ("data.dequantize=true", "weighting=likelihood")),
    ("vdm", "digits", ("data.dequantize=true",)),
    ("improved-ddpm", "swiss-roll", ()),
]


@pytest.mark.parametrize(
    ("name", "source", "settings"), VARIANTS, ids=lambda v: "-".join(v) if isinstance(v, tuple) else v
)
def test_it_trains_resumes_bit_for_bit_and_samples(name: str, source: str, settings, tmp_path: Path) -> None:
    """Two steps, as if killed then, and two more: the weights, averages and optimizer of four in one go."""
    run = tmp_path / "run"
    network = TINY.get(name, UNET) if source == "digits" else MLP
    langevin = SOLVERS["langevin"] == SOLVERS.get(recipe(name, source).sampling.solver)
    grid = ["sampling.steps=5"]  # for the grid of samples at the end; with Langevin steps it would take a minute
    grid += ["sampling.solver=ddim"] if langevin else []
    given = {"data": source, "out": run, "steps": 4, "settings": [*network, *QUICK, *grid, *settings], "device": "cpu"}
    model = sumi.train(name, **given)
    whole = weights(run, 4)
    shutil.rmtree(run / "checkpoints/00000004")
    sumi.train(name, resume=True, **given)
    again = weights(run, 4)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[key], again[key]) for key in whole), [
        key for key in whole if not torch.equal(whole[key], again[key])
    ]
    assert any(not torch.equal(whole[key], value) for key, value in weights(run, 2).items())
    made = model.sample(2, solver="langevin", steps=2) if langevin else model.sample(2)
    assert made.shape == (2, *model.items.shape)
    assert bool(made.isfinite().all())
    if isinstance(model.items, ImageSpec):
        assert float(made.abs().max()) <= 1
    elif model.items.levels == 2:
        assert set(made.unique().tolist()) <= {-1.0, 1.0}
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines() if "loss" in line]
    assert losses
    assert bool(np.isfinite(losses).all())


def test_what_is_learned_with_the_network_moves(tmp_path: Path) -> None:
    """VDM's ends and interior, and the chain's β, are in the checkpoints and not where they began."""
    for name, source in (("vdm", "digits"), ("nonequilibrium", "digits")):
        run = tmp_path / name
        sumi.train(name, data=source, out=run, steps=2, settings=[*UNET, *QUICK], device="cpu")
        kept = weights(run, 2)
        learned = {key for key in kept if key.startswith("model.schedule.")}
        config = override(recipe(name, source), UNET)
        began = config.schedule.build().state_dict()
        assert learned == {f"model.schedule.{key}" for key in began}
        for key, value in began.items():
            assert not torch.equal(kept[f"model.schedule.{key}"], value)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DIFFUSION if name not in ("consistency", "mean-flow")])
def test_the_loss_falls_with_the_recipes_own_settings(name: str, tmp_path: Path) -> None:
    """150 steps on the digits: the mean of the last 50 losses is a fifth below that of the first 10.

    Not of networks of few steps: what they learn from moves with them, and mean flow divides the loss by itself. The
    velocity of white noise cannot be known better than π/2, of 2, and latents of an autoencoder of 20 steps are nearly
    white.
    """
    run = tmp_path / "run"
    quick = ["training.batch_size=32", "training.sample_every=0", "training.log_every=10"]
    sumi.train(
        name,
        data="digits",
        out=run,
        steps=150,
        settings=[*TINY.get(name, UNET), *quick],
        device="cpu",
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-5:]) < (0.98 if name == "latent" else 0.8) * losses[0], losses


# what makes no sense


@pytest.mark.parametrize(
    ("name", "source", "settings", "answer"),
    [
        ("improved-ddpm", "digits", ["variance=fixed"], "sampling.solver: ddpm_learned takes a learned variance"),
        ("ddpm", "digits", ["sampling.solver=ddpm_learned@karras"], "sampling.solver: ddpm_learned@karras takes"),
        ("improved-ddpm", "digits", ["schedule=vp"], "times: schedule=vp is continuous and has no grid"),
        ("improved-ddpm", "digits", ["schedule=vp", "times=uniform"], "variance: learned is that of a chain's steps"),
        ("improved-ddpm", "digits", ["parameterization=energy"], "variance: parameterization=energy gives a gradient"),
        ("improved-ddpm", "digits", ["weighting=uncertainty"], "variance: weighting=uncertainty learns its own"),
        ("improved-ddpm", "digits", ["variance.bound_weight=-1"], "variance.bound_weight: -1.0 is not positive"),
        ("nonequilibrium", "digits", ["variance=learned"], "variance: schedule=learned_chain is learned with fixed"),
        ("nonequilibrium", "digits", ["weighting=snr"], "weighting: schedule=learned_chain is learned by the bound"),
        ("nonequilibrium", "digits", ["times=uniform"], "times: schedule=learned_chain is learned on its own grid"),
        ("nonequilibrium", "heartbeat", ["parameterization=noise"], "parameterization: process=binomial has no noise"),
        ("nonequilibrium", "heartbeat", ["weighting=snr"], "weighting: process=binomial has no snr"),
        ("nonequilibrium", "heartbeat", ["times=importance"], "times: process=binomial has no importance"),
        ("nonequilibrium", "heartbeat", ["variance=learned"], "variance: process=binomial has no learned"),
        ("nonequilibrium", "heartbeat", ["sampling.solver=ddpm"], "sampling.solver: process=binomial has no ddpm"),
        ("nonequilibrium", "heartbeat", ["sampling.time_grid=karras"], "sampling.time_grid: process=binomial has no"),
        (
            "nonequilibrium",
            "heartbeat",
            ["schedule=learned_chain", "schedule.steps=40"],
            "schedule: process=binomial does not learn its schedule",
        ),
        ("ddpm", "digits", ["sampling.solver=binomial"], "sampling.solver: binomial draws bits"),
        ("vdm", "digits", ["weighting=snr"], "weighting: schedule=learned is learned by the bound, not by snr"),
        ("vdm", "digits", ["times=logit_normal"], "times: schedule=learned is learned from uniform times"),
        ("vdm", "digits", ["network.fourier=9"], "network.fourier: [9]"),
        ("ncsn", "digits", ["schedule.steps=12"], "times.steps: 10 differs from schedule.steps = 12"),
        ("ncsn", "digits", ["sampling.steps=11"], "sampling.steps: 11 is more than times.steps = 10"),
        ("ncsn", "digits", ["sampling.solver=heun_churn"], "sampling.solver: heun_churn evaluates between the times"),
        ("ddpm", "digits", ["schedule=erasing", "parameterization=flow"], "parameterization: schedule=erasing ends"),
        ("ddpm", "digits", ["schedule=erasing", "weighting=flow"], "weighting: schedule=erasing ends"),
        ("score-sde", "digits", ["schedule=erasing", "weighting=likelihood"], "times: weighting=likelihood has for"),
        ("ddpm", "digits", ["seed=-1"], "seed: -1 is out of range"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(name: str, source: str, settings, answer: str) -> None:
    with pytest.raises(InputError) as error:
        recipe(name, source, *settings)
    assert str(error.value).startswith(answer)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "source", "settings", "answer"),
    [
        ("ddpm", "digits", ["network=mlp"], "network=mlp: takes vectors, not data of shape (1, 8, 8)"),
        ("ddpm", "swiss-roll", ["network=unet"], "network=unet: takes images, not data of shape (2,)"),
        ("flow", "digits", ["parameterization=noise"], "schedule: at t = 1 no data is left"),
        (
            "nonequilibrium",
            "swiss-roll",
            ["process=binomial", "parameterization=clean", "schedule=erasing", "schedule.steps=40",
             "sampling.solver=binomial"],
            "process: binomial noises bits, and these data are none",
        ),
        ("ddpm", "heartbeat", ["data.dequantize=true"], "data.dequantize: heartbeat holds vectors"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused_before_a_folder_is_made(
    name: str, source: str, settings, answer: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        sumi.train(name, data=source, out=tmp_path / "run", steps=2, settings=settings, device="cpu")
    assert str(error.value).startswith(answer)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


# learning


@pytest.mark.slow
def test_a_perceptron_learns_the_density_of_the_ring(tmp_path: Path) -> None:
    """The score-sde recipe's parts, 4,000 steps: the ODE's nats for each number are the ring's entropy to 0.05."""
    settings = ["network.width=128", "network.blocks=3", "training.batch_size=512", "training.learning_rate=2e-3"]
    quick = ["training.sample_every=0", "training.checkpoint_every=4000"]
    model = sumi.train(
        "score-sde", data="ring-of-8", out=tmp_path, steps=4000, settings=[*settings, *quick], device="cpu"
    )
    held_out = load_data(model.config.data).split(0.1)[1]
    truth = -float(ring_log_density(held_out.values.astype(np.float64)).mean()) / 2
    found, _ = likelihood(model, n=256, evaluations=100)
    assert found.by_ode is not None
    assert -0.02 < found.by_ode.total.value - truth < 0.05 + 2 * found.by_ode.total.error


def test_recipes_of_text_and_latents_learn_characters_where_no_data_are_named() -> None:
    assert sumi.configure("text-to-image").data.source == "characters"
    assert sumi.configure("latent", data="fashion").data.source == "fashion"
    with pytest.raises(InputError, match="data: is missing"):
        sumi.configure("ddpm")
