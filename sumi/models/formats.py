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
        case {"config": {"training": dict() as training} as config}:
            data = data | {"config": config | {"training": {"noise": "numpy", **training}}}
        case _:
            pass
    match data:
        case {"config": {"training": {"lora_rank": int()} as training} as config} if "lora_share" not in training:
            return data | {"config": config | {"training": training | {"lora_share": None}}}
        case {"config": {"loss": {"half_size": _} as loss} as config} if "feature_network" not in loss:
            return data | {"config": config | {"loss": loss | LEARNED}}
        case {"config": {"autoencoder": {"loss": dict() as loss} as part} as config} if "feature_network" not in loss:
            return data | {"config": config | {"autoencoder": part | {"loss": loss | LEARNED}}}
        case {"config": {"network": {"type": "pairs"} as network} as config} if "bounded" not in network:
            return data | {"config": config | {"network": network | {"bounded": False}}}
        case {"format": 5, "config": dict() as config}:
            return data | {"config": upgraded_config(config), "format": FORMAT}
        case _:
            return data


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
