"""A model as a folder of diffusers (`sumi.interop.diffusers` says what is in one), and what is exact in it."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sumi.boundary.config import to_json
from sumi.boundary.files import write_text
from sumi.conditioning.frozen_encoder import FrozenEncoderConfig, folder_of, is_pipeline
from sumi.conditioning.text import TextConditioning
from sumi.data.spec import expect
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import ParameterizationConfig, PredictFlow, PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.autoencoders import write_autoencoder
from sumi.interop.diffusers import OURS
from sumi.interop.encoders import write_encoders
from sumi.interop.schedulers import PREDICTIONS, Written, write_scheduler
from sumi.models.diffusion.autoencoder import NoAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.space import LatentSpace
from sumi.networks.diffusers import DiffusersNetwork, OfDiffusers, diffusers, made

PIPELINES: Final = {
    "DiTTransformer2DModel": "DiTPipeline",
    "UNet2DModel": "DDIMPipeline",
    "UNet2DConditionModel": "StableDiffusionPipeline",
    OURS: "DDIMPipeline",
}
SIZED: Final = "StableDiffusionXLPipeline"
"""Where a U-Net is conditioned on sizes as well."""


def write_folder(model: DiffusionModel, folder: Path) -> list[str]:
    """Write ``folder`` as a pipeline of diffusers; returns sentences on what is exact in it, and what is not.

    A network that is one of the library's needs nothing else; another one needs Sumi where it is loaded
    (`sumi.interop.pipeline`). Raises InputError for a model that the library has no scheduler for.
    """
    library = diffusers("to")
    denoiser, predicts = model.gaussian_denoiser(), model.config.parameterization
    if denoiser.span is not None:
        raise InputError("to: a network of two times has no scheduler in diffusers; export to onnx or safetensors")
    written = write_scheduler(denoiser.schedule, predicts, model.config.schedule.steps, model.config.sampling.threshold)
    match model.config.network, model.config.autoencoder:
        case DiffusersNetwork() as network, _:
            part, kind = _write_network(network, denoiser, model, folder)
            scheduler = written.config | {"prediction_type": _prediction(predicts, written.family)}
            if kind == "UNet2DConditionModel" and written.family == "chain":  # without effect, but its pipeline warns
                scheduler["steps_offset"] = 1
        case _, NoAutoencoder():
            part, kind, scheduler = "unet", OURS, written.config
            _write_own(model, written.family, written.config.get("sigma_data", 0.5), folder / part)
        case _:
            raise InputError("to: is of latents of an autoencoder that diffusers has none of; export to onnx")
    names: dict[str, Any] = {part: ["sumi.interop.pipeline" if kind == OURS else "diffusers", kind]}
    if isinstance(model.space, LatentSpace):
        names["vae"] = ["diffusers", write_autoencoder(model, folder / "vae")]
    pipeline = PIPELINES[kind]
    for condition in model.config.conditioning:
        match condition:
            case TextConditioning(encoder=FrozenEncoderConfig() as encoder) if is_pipeline(folder_of(encoder.source)):
                names |= write_encoders(encoder, folder)
                pipeline = SIZED if encoder.two else pipeline
            case _:
                pass
    name = str(scheduler.pop("_class_name"))
    getattr(library, name)(**scheduler).save_pretrained(folder / "scheduler")
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": library.__version__}
    index |= names | {"scheduler": ["diffusers", name]}
    if kind == "DiTTransformer2DModel":
        index["id2label"] = dict(enumerate(model.items.label_names))
    write_text(folder / "model_index.json", json.dumps(index, indent=2) + "\n")
    return _exactness(model, written, kind, name)


def _exactness(model: DiffusionModel, written: Written, kind: str, scheduler: str) -> list[str]:
    same = {
        "chain": "`sumi sample --solver ddim` for numbers of steps that divide its length",
        "flow": "Euler's method in t on its grid of times",
        "edm": "Euler's method in σ on Karras' grid",
    }[written.family]
    described = [f"{scheduler} of diffusers is exact for this model: its steps are those of {same}, up to float32."]
    if not written.exact:
        described = [
            f"{scheduler} is not exact for this model: its schedule is continuous, and the scheduler has its levels at "
            "the times i/1000 alone."
        ]
    if written.family == "chain" and model.config.sampling.threshold != "none":
        described.append("x̂_0 is clamped, so give the pipeline `use_clipped_model_output=True`; without, steps differ.")
    if model.config.sampling.guidance.scale != 1:
        described.append(
            "The guidance that the run samples with is not part of the scheduler; give it to the pipeline."
        )
    if kind == OURS:
        described.append("Its network is none of diffusers' own: before loading, `import sumi.interop.pipeline`.")
    return described


def _prediction(parameterization: ParameterizationConfig, family: str) -> str:
    """The prediction type of a network of the library. Raises InputError where its scheduler has none such."""
    names = {own: name for name, own in PREDICTIONS.items()}
    match family, parameterization:
        case "edm", PredictPreconditioned():
            return "epsilon"
        case "chain", own if own in names:
            return names[own]
        case "flow", PredictFlow():
            return "flow_prediction"
        case _:
            raise InputError(f"to: no scheduler of diffusers takes a prediction of {parameterization.name} here")


def _write_network(
    network: DiffusersNetwork, denoiser: NetworkDenoiser, model: DiffusionModel, folder: Path
) -> tuple[str, str]:
    """The network by its own class, without the row that stands for "no class"; its part and its class."""
    inner = expect(denoiser.network, OfDiffusers, "network: is none of diffusers'").of_library
    settings = json.loads(network.settings)
    channels, height, width = model.space.shape
    settings |= {"in_channels": channels, "out_channels": channels * (1 + denoiser.learned_variance)}
    settings["sample_size"] = height if height == width else [height, width]
    plain, weights = made(network.kind, settings, "network.settings"), inner.state_dict()
    if settings.get("num_class_embeds"):
        weights["class_embedding.weight"] = weights["class_embedding.weight"][:-1]
    plain.load_state_dict(weights)
    part = "transformer" if network.kind == "DiTTransformer2DModel" else "unet"
    plain.save_pretrained(folder / part)
    return part, network.kind


def _write_own(model: DiffusionModel, family: str, sigma_data: float, folder: Path) -> None:
    shape = model.space.shape
    if len(shape) != 3:
        raise InputError(f"to: diffusers takes images, not data of shape {shape}; export to onnx or safetensors")
    pipeline = import_module("sumi.interop.pipeline")
    found = pipeline.SumiDenoiser(
        sample_size=shape[1] if shape[1] == shape[2] else list(shape[1:]),
        in_channels=shape[0],
        out_channels=shape[0],
        family=family,
        steps=model.config.schedule.steps or 1000,
        sigma_data=sigma_data,
        trained=model.step,
        run=to_json(model.description),
    )
    found.denoiser.load_state_dict(model.module.state_dict())
    found.save_pretrained(folder)
