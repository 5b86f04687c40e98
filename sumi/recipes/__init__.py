"""Recipes by name: each is one file that names the parts of one paper's system."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sumi.config import nearest
from sumi.data.config import DataConfig
from sumi.data.load import holds_vectors
from sumi.errors import InputError
from sumi.models.description import Config
from sumi.models.diffusion.config import RunConfig
from sumi.networks.mlp import MLPConfig
from sumi.recipes import (
    classifier_free,
    colourise,
    ddpm,
    edm,
    energy,
    flow,
    gan,
    guided,
    improved_ddpm,
    inpaint,
    ncsn,
    noisy_classifier,
    nonequilibrium,
    pixelcnn,
    score_sde,
    upscale,
    vae,
    vdm,
)

RECIPES: Final[dict[str, Callable[[DataConfig], Config]]] = {
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
    "vae": vae.recipe,
    "gan": gan.recipe,
    "pixelcnn": pixelcnn.recipe,
}


def build(name: str, data: DataConfig) -> Config:
    """The configuration of the recipe called ``name`` for this data; on vectors its network is a perceptron.

    Raises InputError where there is none.
    """
    if name not in RECIPES:
        raise InputError(f"recipe {name!r}: there is no such recipe; {nearest(name, RECIPES)}")
    config = RECIPES[name](data)
    if isinstance(config, RunConfig) and holds_vectors(data):
        sampling = replace(config.sampling, threshold="none")  # points may lie anywhere
        # small enough to be exact and to take many at a time; a falling rate settles fine structure
        training = replace(config.training, batch_size=256, learning_rate=3e-3, precision="fp32", decay="cosine")
        config = replace(config, network=MLPConfig(), training=training, sampling=sampling)
    return config
