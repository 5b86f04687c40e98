"""How a schedule is learned together with the network.

In continuous time the bound is the mean over t of L = -½ dSNR/dt ‖x̂_0 - x_0‖². As an integral over the SNR it depends
on the schedule's ends alone, so the interior is free, and is best used to make the estimate of the mean from a few
times precise (Kingma et al. 2021, "Variational diffusion models", eqs. 17 ff. and appendix I): the network follows the
gradient of mean(L), the interior that of mean(L²). Both come from one backward pass. With gamma = gamma_0 + (gamma_1 -
gamma_0) u(t), sample n's loss reaches the interior only through u and du/dt at its own time, and

    ∂ mean(L²)/∂u_n = 2 L_n ∂ mean(L)/∂u_n.

Learned ends follow the gradient of mean(L), since the bound does depend on them; what else it has to say of them is in
`sumi.objectives.bound`.

The bound of a chain of T steps does depend on all of its β. There nothing is needed beyond the loss itself:
`DenoisingLoss(StepLikelihood(schedule, T))` carries the gradient to both (Sohl-Dickstein et al. 2015, section 2.4.1).
With β_1 and ᾱ_T fixed, the terms that it leaves out are constants.
"""

from dataclasses import dataclass

from torch import Tensor

from sumi.denoising.denoiser import ReadDenoiser
from sumi.denoising.weighting import LikelihoodWeighting
from sumi.objectives.denoising import DenoisingLoss
from sumi.process.learned import MonotoneSchedule
from sumi.process.schedule import Time


@dataclass(frozen=True)
class VarianceMinimisingLoss:
    """The loss of the continuous-time bound; the gradient of its mean is, for the interior of a monotone schedule, that
    of its mean square.

    ``t`` must be uniform on [0, 1].
    """

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample in nats a dimension, (N,) in x_0's type. x_0 and noise: (N, …); t: (N,)."""
        schedule, loss = denoiser.schedule, DenoisingLoss(LikelihoodWeighting())
        if not isinstance(schedule, MonotoneSchedule) or not isinstance(t, Tensor):
            return loss(denoiser, x_0, t, noise)
        times = t.detach().to("cpu").double()
        height, rate = (value.clone() for value in schedule.rise(times))
        losses = loss(denoiser, x_0, schedule.level_at(times, height, rate), noise)
        twice = 2 * losses.detach()

        def of_square(gradient: Tensor) -> Tensor:
            return gradient * twice.to(gradient)

        for value in (height, rate):
            if value.requires_grad:
                value.register_hook(of_square)
        return losses
