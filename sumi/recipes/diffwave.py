"""DiffWave (Kong et al. 2021, "DiffWave: a versatile diffusion model for audio synthesis").

A network of dilated convolutions on the waveform itself, which predicts the noise; T = 50 steps with β from 1e-4 to
0.05, all of which are sampled. The paper's network has 30 layers of 64 channels; on a CPU set fewer.
"""

from sumi.conditioning.labels import LabelConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.diffwave import DiffWaveConfig
from sumi.objectives.times import GridTimes
from sumi.process.chain import LinearBeta
from sumi.sampling.sampler import Sampling
from sumi.training.config import TrainingConfig

STEPS = 50


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """Table 1 of the paper for T = 50; Adam at 2e-4 and batches of 16."""
    return DiffusionConfig(
        recipe="diffwave",
        data=data,
        schedule=LinearBeta(steps=STEPS, beta_start=1e-4, beta_end=0.05),
        times=GridTimes(steps=STEPS),
        network=DiffWaveConfig(),
        conditioning=(LabelConditioning(),) if spec.label_names else (),
        sampling=Sampling(solver="ddpm", steps=STEPS, threshold="none"),
        training=TrainingConfig(batch_size=16, learning_rate=2e-4),
    )
