"""Older run folders: the upgrade of format 5 to the present format, and of what format 6 did not say at first.

Their noise was NumPy's, and stays so.
"""

from typing import Any, Final

FORMAT: Final = 6
LEARNED: Final = {"feature_network": "learned"}
"""What was the only network that a loss took features of."""


def upgraded(data: Any) -> Any:
    """The JSON of a run of format 5, upgraded to FORMAT, and that of earlier additions; anything else unchanged."""
    match data:
        case {"format": 5, "config": dict() as config}:
            return data | {"config": completed(upgraded_config(config)), "format": FORMAT}
        case {"config": dict() as config}:
            return data | {"config": completed(config)}
        case _:
            return data


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """With what a configuration did not say while there was no choice; each is for itself."""
    match config:
        case {"training": dict() as training}:
            config = config | {"training": {"noise": "numpy", **training}}
    match config:
        case {"training": {"lora_rank": int()} as training}:
            config = config | {"training": {"lora_share": None, **training}}
    match config:
        case {"loss": {"half_size": _} as loss}:
            config = config | {"loss": LEARNED | loss}
    match config:
        case {"autoencoder": {"loss": dict() as loss} as part}:
            config = config | {"autoencoder": part | {"loss": LEARNED | loss}}
    match config:
        case {"network": {"type": "pairs"} as network}:
            config = config | {"network": {"bounded": False, **network}}
    return config


def upgraded_config(config: dict[str, Any]) -> dict[str, Any]:
    """Guidance is a section, a process has settings, and a network takes a list of conditions."""
    found = dict(config)
    match config.get("sampling"):
        case {"guidance": dict()}:
            pass
        case dict() as sampling:
            names = {"guidance": "scale", "guidance_interval": "interval", "guidance_rescale": "rescale"}
            guidance = {names[name]: value for name, value in sampling.items() if name in names}
            found["sampling"] = {n: v for n, v in sampling.items() if n not in names} | {"guidance": guidance}
    match config.get("process"):
        case str(name):
            found["process"] = {"type": name}
    match config.get("conditioning"):
        case dict() as condition:
            found["conditioning"] = [c for c in (condition,) if c.get("type") != "none"]
    return found
