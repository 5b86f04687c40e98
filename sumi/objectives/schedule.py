"""Learning a schedule together with the network.

In continuous time the bound is the mean over t of L = -½ dSNR/dt ‖x̂_0 - x_0‖². As an integral over the SNR it depends
only on the schedule's ends. The interior is free, and is trained to minimise the variance of the estimate (Kingma et
al. 2021, "Variational diffusion models", eqs. 17 ff. and appendix I): the network follows the gradient of mean(L), the
interior that of mean(L²). Both come from one backward pass. With gamma = gamma_0 + (gamma_1 - gamma_0) u(t), sample n's
loss depends on the interior only through u and du/dt at its own time, and

    ∂ mean(L²)/∂u_n = 2 L_n ∂ mean(L)/∂u_n.

Learned ends follow the gradient of mean(L), since the bound depends on them; its further terms in the ends are in
`sumi.objectives.bound`.

The bound of a chain of T steps depends on all of its β. There the plain loss suffices:
`DenoisingLoss(StepLikelihood(schedule, T))` has the gradient of both (Sohl-Dickstein et al. 2015, section 2.4.1). With
β_1 and ᾱ_T fixed, the omitted terms are constants.
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
    """The loss of the continuous-time bound. The interior of a monotone schedule gets the gradient of its mean square.

    ``t`` must be uniform on [0, 1].
    """

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample in nats a dimension, (N,) in x_0's type. x_0 and noise: (N, …); t: (N,)."""
        loss = DenoisingLoss(LikelihoodWeighting())
        match denoiser.schedule, t:
            case MonotoneSchedule() as schedule, Tensor():
                times = t.detach().to("cpu").double()
            case _:
                return loss(denoiser, x_0, t, noise)
        height, rate = (value.clone() for value in schedule.rise(times))
        losses = loss(denoiser, x_0, schedule.level_at(times, height, rate), noise)
        twice = 2 * losses.detach()

        def of_square(gradient: Tensor) -> Tensor:
            return gradient * twice.to(gradient)

        for value in (height, rate):
            if value.requires_grad:
                value.register_hook(of_square)
        return losses
