"""Recipes by name; each file lists the parts of one paper's system."""

import sys
from collections.abc import Callable
from typing import Final

from sumi.boundary.config import nearest
from sumi.data.config import DataConfig
from sumi.data.load import peek
from sumi.data.molecules import MoleculeSpec
from sumi.data.spec import DataSpec
from sumi.errors import InputError
from sumi.models.model import SystemConfig
from sumi.recipes import (
    audio,
    autoencoder,
    classifier_free,
    clip,
    colourise,
    consistency,
    ddpm,
    diffwave,
    dit,
    edm,
    energy,
    flow,
    gan,
    guided,
    imagen,
    improved_ddpm,
    inpaint,
    jit,
    judge,
    latent,
    mean_flow,
    molecules,
    ncsn,
    noisy_classifier,
    nonequilibrium,
    pixelcnn,
    score_sde,
    stable_diffusion,
    symbol_classifier,
    symbols,
    text_to_image,
    unclip,
    upscale,
    vae,
    vdm,
)

RECIPES: Final[dict[str, Callable[[DataConfig, DataSpec], SystemConfig]]] = {
    "ddpm": ddpm.recipe,
    "improved-ddpm": improved_ddpm.recipe,
    "classifier-free": classifier_free.recipe,
    "guided": guided.recipe,
    "noisy-classifier": noisy_classifier.recipe,
    "inpaint": inpaint.recipe,
    "upscale": upscale.recipe,
    "colourise": colourise.recipe,
    "nonequilibrium": nonequilibrium.recipe,
    "ncsn": ncsn.recipe,
    "energy": energy.recipe,
    "score-sde": score_sde.recipe,
    "vdm": vdm.recipe,
    "edm": edm.recipe,
    "flow": flow.recipe,
    "jit": jit.recipe,
    "consistency": consistency.recipe,
    "mean-flow": mean_flow.recipe,
    "latent": latent.recipe,
    "dit": dit.recipe,
    "text-to-image": text_to_image.recipe,
    "stable-diffusion": stable_diffusion.recipe,
    "imagen": imagen.recipe,
    "unclip": unclip.recipe,
    "audio": audio.recipe,
    "diffwave": diffwave.recipe,
    "symbols": symbols.recipe,
    "symbol-classifier": symbol_classifier.recipe,
    "autoencoder": autoencoder.recipe,
    "clip": clip.recipe,
    "judge": judge.recipe,
    "vae": vae.recipe,
    "gan": gan.recipe,
    "pixelcnn": pixelcnn.recipe,
    "molecules": molecules.recipe,
}

PICTURED: Final = (
    *("text-to-image", "stable-diffusion", "imagen", "unclip", "clip", "judge"),
    *("latent", "dit", "autoencoder"),
)
"""Those of text and of latents, which learn ``characters`` where no data are given."""


def title(name: str) -> str:
    """What a recipe is, and of which papers: the first paragraph of its file."""
    text = sys.modules[RECIPES[name].__module__].__doc__ or name
    return " ".join(text.split("\n\n")[0].split())


def build(name: str, data: DataConfig, spec: DataSpec | None = None) -> SystemConfig:
    """The configuration of a recipe for this data, adapted to ``spec`` (None: found by `peek`).

    Raises InputError for an unknown recipe.
    """
    if name not in RECIPES:
        raise InputError(f"recipe {name!r}: there is no such recipe; {nearest(name, RECIPES)}")
    spec = spec or peek(data)
    if spec.name == MoleculeSpec.name != name:
        raise InputError(f"recipe {name!r}: takes no molecules, which {data.source} has; give recipe molecules")
    return RECIPES[name](data, spec).suited(spec)
