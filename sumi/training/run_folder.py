"""What a run folder holds, by name. Whoever reads or writes in one asks here where.

runs/NAME/
  config.json        what to train: recipe, data, parts, training; and what the data turned out to be
  metrics.jsonl      one object a line
  checkpoints/       one folder a checkpoint (`sumi.training.checkpoint`)
  skipped.txt        files of the data that could not be used, with the reasons
  samples/           a grid of samples, by step, and what `sumi sample` makes
  report/            report.html and its figures
  nll/               likelihoods
  explain/           figures of what it has learned
  compare/           solvers at equal evaluations
  tuned/             samplers fitted to a checkpoint (`sumi.models.diffusion.tuned`)
  restored/          what inpaint, upscale and restore make
  varied/            what vary makes
  interpolated/      what interpolate makes
"""

from pathlib import Path


class RunPaths:
    """The paths of a run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.unfinished_config_file = self.path / ".config.json.new"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.skipped_file = self.path / "skipped.txt"
        self.samples = self.path / "samples"
        self.report = self.path / "report"
        self.nll = self.path / "nll"
        self.explain = self.path / "explain"
        self.compare = self.path / "compare"
        self.tuned = self.path / "tuned"
        self.restored = self.path / "restored"
        self.varied = self.path / "varied"
        self.interpolated = self.path / "interpolated"

    def foreign(self) -> list[str]:
        """The names in the folder that are none of a run's, sorted."""
        return sorted({path.name for path in self.path.iterdir()} - {path.name for path in vars(self).values()})
