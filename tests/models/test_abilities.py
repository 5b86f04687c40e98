"""What a model cannot do is said in one line, with what to use instead."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from sumi import recipes
from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.evaluation.solvers import compare
from sumi.models.diffusion.build import Denoising
from sumi.models.diffusion.few_steps import Consistency, MeanFlow, Progressive
from sumi.models.diffusion.likelihood import bits_per_dim, likelihood
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.system import OBJECTIVES, DiffusionConfig
from sumi.objectives.direction import KeptTeacher
from sumi.sampling.sampler import Sampling
from tests.tiny_models import new_classifier, random_model


@pytest.fixture
def consistency(tmp_path: Path) -> DiffusionModel:
    """An untrained consistency model."""
    model = random_model(tmp_path)
    config = replace(model.config, objective=Consistency(), sampling=Sampling(solver="consistency", steps=2))
    return DiffusionModel(replace(model.description, config=config), model.module, 7, tmp_path)


def test_a_consistency_model_has_one_solver_and_no_likelihood(consistency: DiffusionModel) -> None:
    """Its D is no mean of x_0, so that every other solver, and every figure of the ODE, would be of something else."""
    images = consistency.sample(2, steps=3, solver="consistency@uniform")
    assert bool(images.isfinite().all())
    assert consistency.vary(images[0], 0.5, n=1).shape == (1, 1, 8, 8)
    why = r"the mean of x_0 given x_t, and .* is a consistency model, which gives the end of the ODE; "
    for solver in ("heun", "ddim", "dpmpp_2m@karras"):
        with pytest.raises(InputError, match=rf"^solver: {solver.split('@')[0]} needs {why}use solver=consistency, or"):
            consistency.sample(1, solver=solver)
    with pytest.raises(InputError, match=f"^solver: heun needs {why}"):
        consistency.interpolate(images[0], images[1], 3)
    with pytest.raises(InputError, match=rf"^method: moment_matching needs {why}take the model"):
        consistency.upscale(images[0, :, :4, :4], 2)
    with pytest.raises(InputError, match=rf"^likelihood: it needs {why}take the model that it was distilled from$"):
        bits_per_dim(consistency, images)
    with pytest.raises(InputError, match=f"^likelihood: it needs {why}"):
        likelihood(consistency)
    with pytest.raises(InputError, match=f"^method: progressive needs {why}use method=consistency, or take"):
        consistency.distil(method="progressive", out=consistency.folder / "student", steps=1)
    with pytest.raises(InputError, match=f"^solvers: the ODE that they are compared with needs {why}"):
        compare(consistency)


def test_every_objective_says_whether_it_has_a_mean_and_an_ode_of_its_own() -> None:
    """(mean, ODE): x̂_0 of a student of progressive distillation are means, of whole steps."""
    known = {Denoising: (True, True), Consistency: (False, False), MeanFlow: (True, True), Progressive: (True, False)}
    assert set(known) == set(get_args(OBJECTIVES))
    flow = recipes.build("flow", DataConfig("digits"))
    assert isinstance(flow, DiffusionConfig)
    assert flow.few_steps is None
    assert flow.has_ode
    for objective in (Consistency(), MeanFlow(), Progressive(KeptTeacher("teacher"))):
        config = replace(flow, objective=objective)
        assert config.few_steps == objective
        assert (objective.has_mean, config.has_ode) == known[type(objective)]


def test_what_others_can_is_refused_by_name_and_still_not_there(tmp_path: Path) -> None:
    model = new_classifier(tmp_path)
    for name in ("sample", "vary", "bits_per_dim"):
        assert not hasattr(model, name)
        with pytest.raises(InputError, match=rf"^{name}: .* is a run of noisy-classifier, which has none; take a diff"):
            getattr(model, name)
    with pytest.raises(InputError, match=r"^reconstruct: .* which has none; take an autoencoder$"):
        model.reconstruct  # noqa: B018
    with pytest.raises(AttributeError, match=r"^ClassifierModel has no attribute 'smaple'$") as raised:
        model.smaple  # noqa: B018
    assert not isinstance(raised.value, InputError)
