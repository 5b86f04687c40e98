"""How a schedule is learned together with the network.

In continuous time the bound is the mean over t of L = -½ dSNR/dt ‖x̂_0 - x_0‖². As an integral over the SNR it depends
on the schedule's ends alone, so the interior is free, and is best used to make the estimate of the mean from a few
times precise (Kingma et al. 2021, "Variational diffusion models", eqs. 17 ff. and appendix I): the network follows the
gradient of mean(L), the schedule that of mean(L²). Both come from one backward pass. Sample n's loss reaches the
schedule only through its own noise level, and

    ∂ mean(L²)/∂level_n = 2 L_n ∂ mean(L)/∂level_n.

The bound of a chain of T steps does depend on all of its β. There nothing is needed beyond the loss itself:
`DenoisingLoss(StepLikelihood(schedule, T))` carries the gradient to both (Sohl-Dickstein et al. 2015, section 2.4.1).
With β_1 and ᾱ_T fixed, the terms that it leaves out are constants.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.objective import DenoisingLoss
from sumi.denoising.weighting import LikelihoodWeighting
from sumi.process.schedule import NoiseLevel, Time, level


@dataclass(frozen=True)
class VarianceMinimisingLoss:
    """The loss of the continuous-time bound; the gradient of its mean is, for the schedule, that of its mean square.

    ``t`` must be uniform on [0, 1]. Where the schedule has no parameters it is the plain likelihood loss.
    """

    def __call__(self, denoiser: NetworkDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample in nats a dimension, (N,) in x_0's type. x_0 and noise: (N, …); t: (N,)."""
        now = level(denoiser.schedule, t)
        apart = {f.name: torch.as_tensor(getattr(now, f.name)).clone() for f in fields(now)}
        losses = DenoisingLoss(LikelihoodWeighting())(denoiser, x_0, NoiseLevel(**apart), noise)
        twice = 2 * losses.detach()

        def of_square(gradient: Tensor) -> Tensor:
            return gradient * twice.to(gradient)

        for value in apart.values():
            if value.requires_grad:
                value.register_hook(of_square)
        return losses
