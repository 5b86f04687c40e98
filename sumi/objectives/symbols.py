"""The loss of categorical diffusion: the bound of continuous time, estimated at one time for each item.

    L = E_t [Σ_l term_l(t)]/L        in nats per symbol, of a sequence of L symbols

(`sumi.denoising.categorical`). From a(0) = 1 to a(1) = 0 it is the whole bound. Times are spread evenly over the batch
(Kingma et al. 2021, appendix I.1), each uniform.
"""

from torch import Tensor

from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.denoising.categorical import CategoricalDenoiser, continuous_term
from sumi.objectives.objective import Objective
from sumi.objectives.times import UniformTimes, places
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose


class SymbolObjective(Objective[CategoricalDenoiser]):
    """``stratify``: the size of a step's whole batch, over which times are spread; None: independent times."""

    def __init__(self, denoiser: CategoricalDenoiser, times: UniformTimes, stratify: int | None) -> None:
        super().__init__(denoiser)
        self.times, self.stratify = times, stratify

    def fit(self, data: Dataset) -> None:
        """Fit the conditioners. Raises InputError where the data lack what they need."""
        if self.model.conditioner is not None:
            self.model.conditioner.fit(data)

    @property
    def calls_alike(self) -> bool:
        """Not where sequences are computed up to their ends, those of a length at once."""
        return self.model.end is None

    def forward(self, batch: Batch) -> Tensor:
        model, x_0 = self.model, batch.x.to(self.device, non_blocking=True)
        now = noise_level(model.schedule, self.times.times(places(batch, self.stratify), model.schedule))
        noise = batch.normal(Purpose.TRAINING_NOISE, tuple(x_0.shape[1:])).to(self.device, non_blocking=True)
        x_t = model.process.noised(x_0, noise, now)
        condition = None if model.conditioner is None else model.conditioner.of_data(batch, x_0)
        terms = continuous_term(model.process, model.logits(x_t, now, condition), x_t, x_0, now)
        return terms.mean(1).float()
