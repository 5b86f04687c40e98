"""Folders of diffusers as models, and models as folders of diffusers.

    model_index.json    the pipeline: which part is of which class
    unet/, transformer/ config.json and weights of the denoiser
    scheduler/          scheduler_config.json (`sumi.interop.schedulers`)
    vae/, vqvae/        config.json and weights of the autoencoder, with the factor that scales its latents

A folder of one network alone, with config.json, is read too: its scheduler is claimed (`sumi.interop.claims`), and is
DDPM's unless it is.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from sumi.autoencoders.diffusers import DiffusersAutoencoder
from sumi.autoencoders.scale import LatentScale
from sumi.boundary.config import from_json, to_json
from sumi.boundary.files import write_text
from sumi.conditioning.frozen_encoder import ENCODER, TOKENIZER, FrozenEncoderConfig, folder_of, is_pipeline
from sumi.conditioning.states import StatesConditioning
from sumi.conditioning.text import TextConditioning
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.spec import expect
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import ParameterizationConfig, PredictFlow, PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.claims import RECIPE, Claims, take
from sumi.interop.schedulers import PREDICTIONS, Written, read_scheduler, write_scheduler
from sumi.interop.tensors import prefixed, read_json, read_weights, to_text
from sumi.models.autoencoder import AutoencoderConfig, AutoencoderModel
from sumi.models.diffusion.autoencoder import NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import AUTOENCODER
from sumi.models.diffusion.space import LatentSpace
from sumi.models.model import RunDescription
from sumi.models.run import systems
from sumi.networks.diffusers import DiffusersNetwork, OfDiffusers, diffusers, made
from sumi.training.run_folder import RunFolder

NETWORKS: Final = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel")
AUTOENCODERS: Final = ("AutoencoderKL", "VQModel")
WEIGHTS: Final = "diffusion_pytorch_model"
OURS: Final = "SumiDenoiser"
"""The class of `sumi.interop.pipeline`."""
PIPELINES: Final = {
    "DiTTransformer2DModel": "DiTPipeline",
    "UNet2DModel": "DDIMPipeline",
    "UNet2DConditionModel": "StableDiffusionPipeline",
    OURS: "DDIMPipeline",
}
FIRST: Final = ("unet", "transformer")
SECOND: Final = ("vae", "vqvae", "movq")
LENGTH: Final = 77
"""Tokens of a text where a pipeline does not say."""
FACTOR: Final = 0.18215
"""By which both autoencoders scale latents unless their files say otherwise."""
_OLD_ATTENTION: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_LEFT_OUT: Final = re.compile("^_|^(in_channels|out_channels|sample_size)$")


@dataclass(frozen=True)
class Folder:
    """A pipeline, or one network: the configurations of its parts, by name."""

    path: Path
    index: dict[str, Any]

    def part(self, names: tuple[str, ...]) -> Path | None:
        """The folder of the first of these parts that is there."""
        return next((self.path / name for name in names if (self.path / name / "config.json").exists()), None)


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder of diffusers."""
    index, config = path / "model_index.json", path / "config.json"
    return index.exists() or (config.exists() and "_class_name" in read_json(config))


def read_folder(
    path: Path, parts: Path, claims: Claims | None, device: torch.device | None
) -> tuple[DiffusionModel | AutoencoderModel, tuple[str, ...]]:
    """The model in a folder of diffusers, and notes on how it was read.

    ``parts``: a run folder in which its autoencoder is written; ``claims``: instead of what its scheduler says. Raises
    InputError.
    """
    index = read_json(path / "model_index.json") if (path / "model_index.json").exists() else {}
    folder = Folder(path, index)
    network = folder.part(FIRST) if index else path
    if network is None:
        raise InputError(f"{path}: has no {' or '.join(FIRST)}; give a pipeline of one of {', '.join(NETWORKS)}")
    config = read_json(network / "config.json")
    kind = str(config.get("_class_name"))
    if kind == OURS:
        return _own(network, config, device), ()
    if kind in AUTOENCODERS and not index:
        return _autoencoder(path, config, device)
    if kind not in NETWORKS:
        raise InputError(f"{network / 'config.json'}: {kind} is not known here; known are {', '.join(NETWORKS)}")
    return _denoiser(folder, network, config, parts, claims, device)


def _denoiser(
    folder: Folder,
    network: Path,
    config: dict[str, Any],
    parts: Path,
    claims: Claims | None,
    device: torch.device | None,
) -> tuple[DiffusionModel, tuple[str, ...]]:
    scheduler, stated = folder.path / "scheduler" / "scheduler_config.json", claims or Claims()
    notes: list[str] = []
    time_scale, time_offset = 1.0, 0.0
    if claims is None and scheduler.exists():
        found = read_scheduler(read_json(scheduler), str(scheduler))
        stated = replace(
            stated, schedule=found.schedule, parameterization=found.parameterization, threshold=found.threshold
        )
        time_scale, time_offset = found.time_scale, found.time_offset
    elif claims is None:
        notes.append(
            "it has no scheduler: DDPM's linear β and a prediction of ε are assumed; claim others by a mapping"
        )
    elif stated.schedule.steps is not None:
        time_scale, time_offset = stated.schedule.steps / 1000, stated.schedule.steps / 1000 - 1
    kind, read = str(config["_class_name"]), read_weights(network, WEIGHTS)
    weights = modern(read.tensors)
    channels, made = int(config.get("in_channels", 3)), int(config.get("out_channels") or config.get("in_channels", 3))
    _refuse(network, config)
    classes, dropout = _classes(folder, kind, config)
    attended, about = _attended(folder, network, config) if kind == "UNet2DConditionModel" else ((), ())
    notes += about
    if kind != "DiTTransformer2DModel" and classes:
        table = weights["class_embedding.weight"]
        weights["class_embedding.weight"] = torch.cat([table, torch.zeros_like(table[:1])])
    settings = to_text({name: value for name, value in config.items() if not _LEFT_OUT.search(name)})
    stated = replace(
        stated,
        shape=(channels, *_sides(network, config, stated)),
        network=DiffusersNetwork(kind, settings, time_scale, time_offset, len(classes) + 1),  # type: ignore[arg-type]
        learned_variance=made == 2 * channels,
        classes=classes,
        conditioning=stated.conditioning or attended,
        label_dropout=dropout,
    )
    second = folder.part(SECOND)
    if second is None:
        model = stated.model(weights, str(folder.path), device=device)
        return model, (*read.notes, *notes)
    model = _of_latents(stated, weights, second, folder.path, parts, device)
    return model, (*read.notes, *notes)


def _refuse(network: Path, config: Mapping[str, Any]) -> None:
    """Raises InputError for settings of which the library's own call needs more than there is here."""
    for name in (
        "class_embed_type",
        "addition_embed_type",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "time_cond_proj_dim",
    ):
        if config.get(name) is not None:
            raise InputError(f"{network / 'config.json'}: {name} {config[name]} is not known here; import another")
    taken, given = int(config.get("in_channels") or 3), config.get("out_channels")
    if given not in (None, taken, 2 * taken):
        raise InputError(
            f"{network / 'config.json'}: it takes {taken} channels and gives {given}, so part of its input is a "
            "condition that is not known here; import another"
        )
    if config.get("time_embedding_type", "positional") == "fourier":
        raise InputError(
            f"{network / 'config.json'}: time_embedding_type fourier divides by σ, which is not known here; import "
            "another"
        )


def _sides(network: Path, config: Mapping[str, Any], claims: Claims) -> tuple[int, int]:
    match config.get("sample_size"):
        case int(side):
            return side, side
        case [int(height), int(width)]:
            return height, width
        case _ if claims != Claims() and len(claims.shape) == 3:
            return claims.shape[1], claims.shape[2]
        case _:
            raise InputError(f"{network / 'config.json'}: says no sample_size; claim a shape by a mapping")


def _classes(folder: Folder, kind: str, config: Mapping[str, Any]) -> tuple[tuple[str, ...], float]:
    """The names of the classes, and the share of training without one."""
    dit = kind == "DiTTransformer2DModel"
    count = config.get("num_embeds_ada_norm", 1000) if dit else config.get("num_class_embeds")
    if not count:
        return (), 0.0
    match folder.index.get("id2label"):
        case dict() as table if len({*map(str, table.values())}) == count:
            names = tuple(str(table[key]) for key in sorted(table, key=int))
        case _:
            names = tuple(map(str, range(count)))
    return names, 0.1 if dit else 0.0


def _attended(
    folder: Folder, network: Path, config: Mapping[str, Any]
) -> tuple[tuple[TextConditioning | StatesConditioning, ...], list[str]]:
    """What the network attends to: a text by the pipeline's own encoder, or states that are given; and notes on it."""
    width = config.get("cross_attention_dim", 1280)
    if not is_pipeline(folder.path):
        note = f'it attends to states of {width} numbers, which are given as condition={{"states": …}}'
        return (StatesConditioning(width),), [note]
    tokens = read_json(folder.path / TOKENIZER / "tokenizer_config.json")
    length = int(min(tokens.get("model_max_length", LENGTH), 1024))
    encoder = FrozenEncoderConfig(str(folder.path.resolve()), length).found()
    if (own := encoder.build().width) != width:
        raise InputError(
            f"{network / 'config.json'}: it attends to states of {width} numbers, and {ENCODER} has {own}; give a "
            "whole pipeline"
        )
    note = f"texts are read by {folder.path / ENCODER}, which stays there: the run is refused without it"
    return (TextConditioning(encoder),), [note]


def modern(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names that the library gives them now; attention was named otherwise until 2023."""
    if not any(name.endswith("proj_attn.weight") for name in weights):
        return dict(weights)
    return {
        re.sub(r"\.(query|key|value|proj_attn)\.(weight|bias)$", lambda m: f".{_OLD_ATTENTION[m[1]]}.{m[2]}", name): v
        for name, v in weights.items()
    }


def _autoencoder(
    path: Path, config: dict[str, Any], device: torch.device | None
) -> tuple[AutoencoderModel, tuple[str, ...]]:
    kind, read = str(config["_class_name"]), read_weights(path, WEIGHTS)
    weights = modern(read.tensors)
    settings = to_text({name: value for name, value in config.items() if not name.startswith("_")})
    network = DiffusersAutoencoder(kind, settings)  # type: ignore[arg-type]
    side = config.get("sample_size") or 32
    height, width = side if isinstance(side, list) else (side, side)
    height, width = (max(1, s // network.factor) * network.factor for s in (height, width))
    items = ImageSpec(int(config.get("in_channels", 3)), height, width, 256, ())
    settings_of_run = AutoencoderConfig(recipe=RECIPE, data=DataConfig(source=str(path)), network=network)
    module = settings_of_run.build(items).model
    pieces = {
        **{f"encoder.network.{name}": value for name, value in prefixed(weights, "encoder.").items()},
        **{f"encoder.quant_conv.{name}": value for name, value in prefixed(weights, "quant_conv.").items()},
        **{f"decoder.network.{name}": value for name, value in prefixed(weights, "decoder.").items()},
        **{f"decoder.post_quant_conv.{name}": value for name, value in prefixed(weights, "post_quant_conv.").items()},
    }
    if kind == "VQModel":
        own = {name: value for name, value in module.autoencoder.state_dict().items() if name.startswith("regularizer")}
        pieces |= own | {"regularizer.vectors": weights["quantize.embedding.weight"]}
    take(module.autoencoder, pieces, str(path))
    description = RunDescription(settings_of_run, items, "", 0.5)
    model = settings_of_run.wrap(description, module.to(device or torch.device("cpu")), 0, path)
    return model, read.notes


def _of_latents(
    claims: Claims,
    weights: Mapping[str, Tensor],
    second: Path,
    source: Path,
    parts: Path,
    device: torch.device | None,
) -> DiffusionModel:
    config = read_json(second / "config.json")
    kind = str(config.get("_class_name"))
    if kind not in AUTOENCODERS:
        raise InputError(f"{second / 'config.json'}: {kind} is not known here; known are {', '.join(AUTOENCODERS)}")
    autoencoder, _ = _autoencoder(second, config, None)
    part = RunFolder(parts).part(AUTOENCODER).path
    autoencoder.save(part)
    images = claims.items(autoencoder.config.network.factor, int(config.get("in_channels", 3)))
    chosen = TrainedAutoencoder(network=autoencoder.config.network, weights=autoencoder.digest)
    model = claims.model(weights, str(source), folder=parts, autoencoder=chosen, images=images, device=device)
    scale = model.module.auxiliary["latents"]
    assert isinstance(scale, LatentScale)
    factor, shift = float(config.get("scaling_factor") or FACTOR), float(config.get("shift_factor") or 0.0)
    scale.set(torch.full((claims.shape[0],), shift), torch.full((claims.shape[0],), 1 / factor))
    return model


def _own(network: Path, config: dict[str, Any], device: torch.device | None) -> DiffusionModel:
    """A model of ours that was written here."""
    weights = prefixed(read_weights(network, WEIGHTS).tensors, "denoiser.")
    return of_description(config.get("run"), weights, network, device, int(config.get("trained", 0)))


def of_description(
    about: object, weights: Mapping[str, Tensor], source: Path, device: torch.device | None, step: int
) -> DiffusionModel:
    """The model of a config.json and all its weights, trained for ``step`` steps, read from ``source``.

    Raises InputError.
    """
    description = from_json(RunDescription, about, str(source), known=systems())
    module = description.config.build(description.items).model
    take(module, weights, str(source))
    model = description.config.wrap(description, module.to(device or torch.device("cpu")), step, source)
    return expect(model, DiffusionModel, f"{source}: is not a diffusion model; export one again")


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
    names: dict[str, list[str | None]] = {part: ["sumi.interop.pipeline" if kind == OURS else "diffusers", kind]}
    if isinstance(model.space, LatentSpace):
        names["vae"] = ["diffusers", _write_autoencoder(model, folder / "vae")]
    for condition in model.config.conditioning:
        match condition:
            case TextConditioning(encoder=FrozenEncoderConfig(source=source)) if is_pipeline(folder_of(source)):
                names |= _write_encoder(folder_of(source), folder)
            case _:
                pass
    name = str(scheduler.pop("_class_name"))
    getattr(library, name)(**scheduler).save_pretrained(folder / "scheduler")
    index: dict[str, Any] = {"_class_name": PIPELINES[kind], "_diffusers_version": library.__version__}
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


def _write_encoder(pipeline: Path, folder: Path) -> dict[str, list[str | None]]:
    """Copies of the text encoder and its tokens, as a pipeline's index names them; and the parts that it may lack."""
    for part in (ENCODER, TOKENIZER):
        shutil.copytree(pipeline / part, folder / part)
    index = read_json(pipeline / "model_index.json")
    found: dict[str, list[str | None]] = {part: index[part] for part in (ENCODER, TOKENIZER)}
    for part in ("safety_checker", "feature_extractor", "image_encoder"):
        found[part] = [None, None]
    return found


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


def _write_autoencoder(model: DiffusionModel, folder: Path) -> str:
    """The autoencoder by its own class, with the factor of its latents."""
    part = expect(model.parts()[AUTOENCODER], AutoencoderModel, "autoencoder: is none")
    why = "to: is of latents of an autoencoder that diffusers has none of; export to onnx"
    config = expect(part.config.network, DiffusersAutoencoder, why)
    scale = model.module.auxiliary["latents"]
    assert isinstance(scale, LatentScale)
    plain = made(
        config.kind, json.loads(config.settings) | {"scaling_factor": 1 / float(scale.std[0])}, "network.settings"
    )
    names = {"encoder.network.": "encoder.", "encoder.quant_conv.": "quant_conv.", "decoder.network.": "decoder."}
    names["decoder.post_quant_conv."] = "post_quant_conv."
    own = part.autoencoder.state_dict()
    weights = {theirs + n: v for ours, theirs in names.items() for n, v in prefixed(own, ours).items()}
    if config.kind == "VQModel":
        weights["quantize.embedding.weight"] = own["regularizer.vectors"]
    plain.load_state_dict(weights)
    plain.save_pretrained(folder)
    return config.kind
