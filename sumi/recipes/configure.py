"""From the name of a recipe, a JSON file or a configuration to the configuration of a run."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sumi import recipes
from sumi.boundary.arguments import classes, path, shown, whole
from sumi.boundary.config import parse_json
from sumi.boundary.files import contents
from sumi.boundary.settings import Settings, assignments, override
from sumi.data.config import MEMORY, DataConfig
from sumi.data.open import outline_of
from sumi.errors import InputError
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.formats import upgraded
from sumi.models.model import SystemConfig
from sumi.models.run import read_config, with_network
from sumi.networks.own import Network
from sumi.training.run_folder import unsealed


@dataclass(frozen=True)
class _OnlyData:
    """A configuration with only a data section."""

    data: DataConfig


def configure(
    recipe: str | Path | SystemConfig,
    *,
    data: object = None,
    steps: int | None = None,
    seed: int | None = None,
    settings: Settings = (),
    network: Network | None = None,
    parts: Iterable[type] = (),
) -> SystemConfig:
    """The configuration of a run: a recipe's name, a JSON file or a configuration, with the given fields replaced.

    ``data``: a name, a path or anything else `sumi.data.open_data` takes; None: characters, where the recipe is of text
    or latents (`sumi.recipes.PICTURED`). ``network``: the user's own, instead of the recipe's (`sumi.networks.own`).
    ``parts``: the user's own classes that a JSON file may name. Raises InputError, naming the recipe, file or field.
    """
    settings, recipe, parts = assignments(settings), named(recipe), classes("parts", parts)
    if data is None and recipe in recipes.PICTURED:
        data = "characters"
    source = str(data) if isinstance(data, str | Path) else MEMORY
    if isinstance(recipe, str) and not recipe.endswith(".json"):
        if recipe not in recipes.RECIPES and Path(recipe).exists():
            file = f"{recipe}/config.json" if Path(recipe).is_dir() else "a .json file"
            raise InputError(f"recipe: {recipe} is neither a recipe nor a .json file; give {file}, or a recipe's name")
        if data is None:
            raise InputError(
                "data: is missing; give a built-in set (digits, swiss-roll, …), a folder of images, or a .npy file"
            )
        of_data = (setting for setting in settings if setting.strip().startswith("data."))
        section = override(_OnlyData(DataConfig(source)), of_data).data
        config = recipes.build(recipe, section, outline_of(section.source if source != MEMORY else data, section))
    else:
        config = read_config_file(Path(recipe), parts) if isinstance(recipe, str) else recipe
        config = config if data is None else replace(config, data=replace(config.data, source=source))
    if seed is not None:
        config = replace(config, seed=whole("seed", seed))
    if steps is not None:
        config = replace(config, training=replace(config.training, steps=whole("steps", steps, least=1)))
    found = override(with_network(config, network), settings)
    for name, given, own in (("seed", seed, found.seed), ("steps", steps, found.training.steps)):
        if given is not None and given != own:
            raise InputError(f"{name}: is {given}, and the settings say {own}; give one of them")
    if data is not None and found.data.source != source:
        raise InputError(f"data: is {source}, and the settings say {found.data.source}; give one of them")
    refuse_ignored(found, settings)
    return found


def refuse_ignored(config: SystemConfig, settings: Iterable[str]) -> None:
    """Raises InputError for a setting of the autoencoder's training where one that was trained is taken."""
    match config:
        case DiffusionConfig(autoencoder=TrainedAutoencoder(source=source)) if source:
            pass
        case _:
            return
    for setting in settings:
        name = setting.partition("=")[0].strip()
        if name.startswith("autoencoder.") and name != "autoencoder.source":
            raise InputError(f"{name}: has no effect, as the autoencoder of {source} is taken; leave one of them out")


def named(recipe: object) -> str | SystemConfig:
    """A recipe's name, the path of a JSON file, or a configuration. Raises InputError for anything else."""
    match recipe:
        case SystemConfig():
            return recipe
        case str() | os.PathLike():
            return path("recipe", recipe)
        case _:
            raise InputError(f"recipe: {shown(recipe)} is no recipe; give its name, a JSON file or a configuration")


def read_config_file(file: Path, parts: Iterable[type]) -> SystemConfig:
    try:
        text = contents(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give a recipe's name or a JSON file") from None
    data = upgraded(unsealed(parse_json(text, file, "give a run's config.json"), file))
    config = data.get("config", data) if isinstance(data, dict) else data  # a run's own config.json works too
    try:
        return read_config(config, parts)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
