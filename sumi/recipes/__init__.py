"""Recipes by name: each is one file that names the parts of one paper's system."""

from collections.abc import Callable
from typing import Final

from sumi.config import nearest
from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.recipes import ddpm
from sumi.run import RunConfig

RECIPES: Final[dict[str, Callable[[DataConfig], RunConfig]]] = {"ddpm": ddpm.recipe}


def build(name: str, data: DataConfig) -> RunConfig:
    """The configuration of the recipe called ``name`` for this data. Raises InputError where there is none."""
    if name not in RECIPES:
        raise InputError(f"recipe {name!r}: there is no such recipe; {nearest(name, RECIPES)}")
    return RECIPES[name](data)
