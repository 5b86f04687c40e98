"""Solvers by name, as the command line and the run folder call them."""

from math import inf
from typing import Any, Final

from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.adaptive import Adaptive
from sumi.sampling.solvers.binomial import BinomialAncestral
from sumi.sampling.solvers.consistency import Consistency, MeanFlow
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.dpm_solver import DPMSolverMultistep, DPMSolverSinglestep
from sumi.sampling.solvers.euler_maruyama import EulerMaruyama
from sumi.sampling.solvers.fitted import Fitted
from sumi.sampling.solvers.heun import Churn, Heun
from sumi.sampling.solvers.langevin import AnnealedLangevin
from sumi.sampling.solvers.predictor_corrector import PredictorCorrector
from sumi.sampling.solvers.restart import Restart, Restarted
from sumi.sampling.solvers.runge_kutta import RungeKutta
from sumi.sampling.solvers.solver import Solver
from sumi.sampling.solvers.unipc import UniPC

__all__ = [
    "BIT_SOLVERS",
    "DDIM",
    "SOLVERS",
    "Adams",
    "Adaptive",
    "AnnealedLangevin",
    "BinomialAncestral",
    "Churn",
    "Consistency",
    "DPMSolverMultistep",
    "DPMSolverSinglestep",
    "EulerMaruyama",
    "Fitted",
    "Heun",
    "MeanFlow",
    "PredictorCorrector",
    "Restart",
    "Restarted",
    "RungeKutta",
    "Solver",
    "UniPC",
]

SOLVERS: Final[dict[str, Solver[Any]]] = {
    "adams": Adams(),
    "fitted": Fitted(),
    "lms": Adams(near=inf, far=inf),
    "ddim": DDIM(eta=0.0),
    "ddpm": DDIM(eta=1.0),
    "ddpm_large": DDIM(eta=1.0, variance="large"),
    "ddpm_learned": DDIM(eta=1.0, variance="learned"),
    "euler_maruyama": EulerMaruyama(),
    "predictor_corrector": PredictorCorrector(DDIM(eta=1.0)),
    "langevin": AnnealedLangevin(),
    "heun": Heun(),
    "heun_churn": Churn(Heun()),
    "rk4": RungeKutta(order=4),
    "adaptive": Adaptive(),
    "dpmpp_2m": DPMSolverMultistep(evaluations=2),
    "dpmpp_3m": DPMSolverMultistep(evaluations=3),
    "dpmpp_2m_sde": DPMSolverMultistep(evaluations=2, eta=1.0),
    "dpmpp_2s": DPMSolverSinglestep(order=2),
    "dpmpp_3s": DPMSolverSinglestep(order=3),
    "unipc": UniPC(predictor_order=2),
    "unipc_3": UniPC(predictor_order=3),
    "consistency": Consistency(),
    "mean_flow": MeanFlow(),
}

BIT_SOLVERS: Final[dict[str, Solver[Any]]] = {"binomial": BinomialAncestral()}
"""Those of the binomial process, which knows none of the others."""
