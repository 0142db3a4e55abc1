from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.training import OPTIMIZERS, SCHEDULES
from medseg.training.schedules import constant, cosine, polynomial

PROGRESS = [i / 100 for i in range(101)]


class TestSchedules:
    @pytest.mark.parametrize("name", SCHEDULES)
    def test_stay_in_the_unit_interval(self, name: str) -> None:
        assert all(0 <= SCHEDULES[name](p, warmup=0.1) <= 1 for p in PROGRESS)

    @pytest.mark.parametrize("name", SCHEDULES)
    def test_warm_up_rises_from_a_first_step_that_counts(self, name: str) -> None:
        values = [SCHEDULES[name](p, warmup=0.2) for p in PROGRESS[:20]]
        assert 0 < values[0] < 0.05
        assert values == sorted(values)

    def test_constant_is_one(self) -> None:
        assert {constant(p) for p in PROGRESS} == {1.0}

    def test_cosine_agrees_with_torch(self) -> None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.1)
        for p in PROGRESS:
            assert cosine(p, warmup=0.0, final=0.1) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
            optimizer.step()
            reference.step()

    def test_polynomial_agrees_with_torch(self) -> None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        reference = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=100, power=0.9)
        for p in PROGRESS:
            assert polynomial(p) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
            optimizer.step()
            reference.step()


class TestOptimizers:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_biases_and_norms_do_not_decay(self, name: str) -> None:
        module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True))
        optimizer = OPTIMIZERS[name](module, weight_decay=0.1)
        decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert {p.ndim > 1: decays[id(p)] for p in module.parameters()} == {True: 0.1, False: 0.0}

    def test_params_reach_the_optimizer(self) -> None:
        module = nn.Linear(2, 2)
        assert (
            OPTIMIZERS["adamw"](module, lr=0.5, betas=[0.8, 0.9]).defaults | {"lr": 0.5, "betas": (0.8, 0.9)}
            == OPTIMIZERS["adamw"](module, lr=0.5, betas=[0.8, 0.9]).defaults
        )
        sgd = OPTIMIZERS["sgd"](module, lr=0.5, momentum=0.3, nesterov=False).defaults
        assert (sgd["lr"], sgd["momentum"], sgd["nesterov"]) == (0.5, 0.3, False)

    def test_frozen_parameters_are_left_out(self) -> None:
        module = nn.Linear(2, 2)
        module.weight.requires_grad_(False)
        optimizer = OPTIMIZERS["adamw"](module)
        assert sum(len(group["params"]) for group in optimizer.param_groups) == 1
