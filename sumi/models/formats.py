"""Older run folders: the upgrade of format 5 to the present format."""

from typing import Any, Final

FORMAT: Final = 6


def upgraded(data: Any) -> Any:
    """The JSON of a run of format 5, upgraded to FORMAT; anything else unchanged."""
    if not isinstance(data, dict) or data.get("format") != 5 or not isinstance(data.get("config"), dict):
        return data
    return data | {"config": upgraded_config(data["config"]), "format": FORMAT}


def upgraded_config(config: dict[str, Any]) -> dict[str, Any]:
    """Guidance is a section, a process has settings, and a network takes a list of conditions."""
    found = dict(config)
    sampling = config.get("sampling")
    if isinstance(sampling, dict) and not isinstance(sampling.get("guidance"), dict):
        names = {"guidance": "scale", "guidance_interval": "interval", "guidance_rescale": "rescale"}
        guidance = {names[name]: value for name, value in sampling.items() if name in names}
        found["sampling"] = {n: v for n, v in sampling.items() if n not in names} | {"guidance": guidance}
    if isinstance(config.get("process"), str):
        found["process"] = {"type": config["process"]}
    conditioning = config.get("conditioning")
    if isinstance(conditioning, dict):
        found["conditioning"] = [c for c in (conditioning,) if c.get("type") != "none"]
    return found
