"""The references of the boundary, topology, instance and box terms, against hand calculations and torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.losses import reference_instance as instance
from tests.losses import reference_shape as shape
from tests.losses.test_reference import problem
from tests.losses.test_reference_new import certain, sigmoid_problem, soft_problem


class TestDistancesByHand:
    LINE = np.array([0, 0, 1, 1, 1, 0], dtype=bool)

    def test_signed_distance(self) -> None:
        assert shape.signed_distance(self.LINE, np.array([2.0])).tolist() == [4, 2, 0, -2, 0, 2]
        square = np.zeros((5, 5), dtype=bool)
        square[1:4, 1:4] = True
        distances = shape.signed_distance(square, np.array([1.0, 3.0]))
        assert distances[2].tolist() == [3, -1, -1, -1, 3]  # up and down is nearer: 2 - 1
        assert distances[1].tolist() == [3, 0, 0, 0, 3]
        assert distances[0].tolist() == pytest.approx([math.sqrt(10), 1, 1, 1, math.sqrt(10)])

    @pytest.mark.parametrize("mask", [np.zeros((2, 2), dtype=bool), np.ones((2, 2), dtype=bool)])
    def test_no_rim_no_distance(self, mask: np.ndarray) -> None:
        assert not shape.signed_distance(mask, np.ones(2)).any()
        assert not shape.rim_distance(mask, np.ones(2)).any()

    def test_boundary(self) -> None:
        p = [0.5, 0.25, 0.5, 0.75, 0.5, 0.25]
        data = sigmoid_problem(p, self.LINE.astype(int))
        assert shape.boundary(**data) == pytest.approx((0.5 * 2 + 0.25 - 0.75 + 0.25) / 6)
        assert shape.boundary(**data, spacing=[3]) == pytest.approx(3 * shape.boundary(**data))
        assert shape.boundary(**data, weight_map=[[1, 1, 1, 2, 1, 0]]) == pytest.approx((0.5 * 2 + 0.25 - 2 * 0.75) / 6)

    def test_hausdorff(self) -> None:
        # d_G = 2 1 1 2 1 1; predicted: voxel 1 alone, d_P = 1 1 1 2 3 4
        data = sigmoid_problem([0.5, 0.75, 0.5, 0.25, 0.5, 0.25], self.LINE.astype(int))
        squared = np.array([0.25, 0.5625, 0.25, 0.5625, 0.25, 0.0625])
        of_reference, of_prediction = np.array([2, 1, 1, 2, 1, 1]), np.array([1, 1, 1, 2, 3, 4])
        alone = float(squared @ of_reference**2) / 6 / 25
        assert shape.hausdorff_dt(**data, prediction_distance=False) == pytest.approx(alone)
        assert shape.hausdorff_dt(**data) == pytest.approx(alone + float(squared @ of_prediction**2) / 6 / 25)
        assert shape.hausdorff_dt(**data, exponent=1) == pytest.approx(float(squared @ (of_reference + of_prediction)) / 6 / 5)
        assert shape.hausdorff_dt(**data, spacing=[3]) == pytest.approx(shape.hausdorff_dt(**data))

    @pytest.mark.parametrize("name", ["boundary", "hausdorff_dt", "component"])
    def test_a_spacing_for_each_sample(self, name: str) -> None:
        data = problem("sigmoid", batch=2, classes=1)
        term = {**shape.TERMS, **instance.TERMS}[name]
        steps = [[1, 2], [3, 0.5]]
        single = [term(data["logits"][[b]], data["target"][[b]], activation="sigmoid", spacing=steps[b]) for b in range(2)]
        assert term(**data, spacing=steps, reduce_over="sample") == pytest.approx(np.mean(single))


class TestSkeleton:
    @pytest.mark.parametrize("size", [(7, 6), (5, 4, 6)])
    def test_against_pooling(self, size: tuple[int, ...]) -> None:
        image = np.random.default_rng(0).random(size)
        pool = F.max_pool2d if len(size) == 2 else F.max_pool3d
        kernels = [tuple(3 if k == axis else 1 for k in range(len(size))) for axis in range(len(size))]

        def erode(x: torch.Tensor) -> torch.Tensor:
            return torch.stack([-pool(-x, kernel, 1, tuple(k // 2 for k in kernel)) for kernel in kernels]).amin(0)

        def opened(x: torch.Tensor) -> torch.Tensor:
            return pool(erode(x), 3, 1, 1)

        p = torch.tensor(image)[None, None]
        skeleton = F.relu(p - opened(p))
        for _ in range(3):
            p = erode(p)
            delta = F.relu(p - opened(p))
            skeleton = skeleton + F.relu(delta - skeleton * delta)
        assert shape.soft_skeleton(image, 3) == pytest.approx(skeleton[0, 0].numpy())

    def test_a_bar_has_its_middle_line(self) -> None:
        bar = np.zeros((5, 9))
        bar[1:4, 1:8] = 1
        assert shape.soft_skeleton(bar, 3)[2].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]

    def test_cl_dice(self) -> None:
        line = np.zeros((3, 6), dtype=int)
        line[1] = 1
        half = np.zeros((3, 6), dtype=int)
        half[1, :3] = 1
        data = {"logits": certain(half[None, None], "sigmoid"), "target": line[None, None], "activation": "sigmoid"}
        assert shape.cl_dice(**data, smooth=0) == pytest.approx(1 - 2 * 0.5 / 1.5)
        sensitivity = 4 / 7
        assert shape.cl_dice(**data) == pytest.approx(1 - 2 * sensitivity / (1 + sensitivity))


class TestInstancesByHand:
    def test_components_touch_at_corners(self) -> None:
        mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
        numbers, count = instance.components_of(mask)
        assert count == 3
        assert numbers.tolist() == [[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 0, 3]]
        deep = np.zeros((2, 2, 2), dtype=bool)
        deep[0, 0, 0] = deep[1, 1, 1] = True
        assert instance.components_of(deep)[1] == 1

    def test_cells(self) -> None:
        numbers = np.array([[1, 0, 0, 0, 2]])
        assert instance.cells_of(numbers, 2, np.ones(2)).tolist() == [[1, 1, 1, 2, 2]]
        numbers = np.array([[1, 0, 2], [0, 0, 0], [0, 0, 0], [3, 0, 0]])
        assert instance.cells_of(numbers, 3, np.array([1.0, 1.0]))[1].tolist() == [1, 1, 2]
        assert instance.cells_of(numbers, 3, np.array([0.1, 1.0]))[2].tolist() == [3, 3, 2]

    # Two lesions, {0} and {4, 5}.
    P, Y = np.array([0.5, 0.2, 0.4, 0.1, 0.7, 0.9]), np.array([1, 0, 0, 0, 1, 1])

    def test_blob(self) -> None:
        # FP of all three background voxels, .7, is charged to both.
        first, second = (0.7 + 0.5) / (1 + 0.7 + 0.5), (0.7 + 0.4) / (3.2 + 0.7 + 0.4)
        assert instance.blob(**sigmoid_problem(self.P, self.Y), smooth=0) == pytest.approx((first + second) / 2)

    def test_component(self) -> None:
        # Cells {0, 1, 2} (2 is a tie) and {3, 4, 5}.
        first, second = (0.6 + 0.5) / (1 + 0.6 + 0.5), (0.1 + 0.4) / (3.2 + 0.1 + 0.4)
        data = sigmoid_problem(self.P, self.Y)
        assert instance.component(**data, smooth=0) == pytest.approx((first + second) / 2)
        ce = -(math.log(0.5) + math.log(0.8) + math.log(0.6)) / 3 - (math.log(0.9) + math.log(0.7) + math.log(0.9)) / 3
        assert instance.component(**data, smooth=0, inner="dice_ce") == pytest.approx((first + second + ce) / 2)

    def test_a_sample_of_many_lesions_counts_once_or_for_each(self) -> None:
        one = np.array([1, 0, 0, 0, 0, 0])
        data = sigmoid_problem(self.P, self.Y)
        both = {**data, "logits": np.repeat(data["logits"], 2, axis=0), "target": np.stack([self.Y, one])[:, None]}
        for term in (instance.blob, instance.component):
            of_many, of_one = (term(**sigmoid_problem(self.P, y)) for y in (self.Y, one))
            assert term(**both) == pytest.approx((2 * of_many + of_one) / 3)
            assert term(**both, reduce_over="sample") == pytest.approx((of_many + of_one) / 2)
            assert term(**sigmoid_problem(self.P, 0 * one)) == 0

    def test_inverse_component(self) -> None:
        target = np.array([[[1, 0, 0, 2], [0, 255, 0, 2], [1, 0, 0, 2]]])
        # 11 voxels, parts of 6, 1, 1 and 3.
        expected = np.array([[11 / 4, 11 / 24, 11 / 24, 11 / 12], [11 / 24, 0, 11 / 24, 11 / 12], [11 / 4, 11 / 24, 11 / 24, 11 / 12]])
        value = instance.inverse_component(target, activation="softmax", ignore_index=255, minimum=0)
        assert value[0] == pytest.approx(expected)
        clipped = instance.inverse_component(target, activation="softmax", ignore_index=255, maximum=2)
        assert clipped[0] == pytest.approx(np.where(expected > 0, np.clip(expected, 1, 2), 0))
        channels = np.array([[[1, 0, 0, 1], [0, 0, 0, 0]]])
        value = instance.inverse_component(channels, activation="sigmoid", minimum=0)
        assert value[0] == pytest.approx(np.array([[4 / 3, 4 / 6, 4 / 6, 4 / 3], [1] * 4]))


class TestRegression:
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_against_torch(self, activation: str) -> None:
        data = soft_problem(activation)
        z, y = torch.tensor(data["logits"]), torch.tensor(data["target"])
        p = z.softmax(1) if activation == "softmax" else z.sigmoid()
        assert instance.mse(**data) == pytest.approx(F.mse_loss(p, y).item())
        assert instance.mae(**data) == pytest.approx(F.l1_loss(p, y).item())
        assert instance.huber(**data, delta=0.3) == pytest.approx(F.huber_loss(p, y, delta=0.3).item())
        assert instance.log_cosh(**data) == pytest.approx((p - y).cosh().log().mean().item())


class TestBoxes:
    A, B = ((0.0, 0.0), (2.0, 2.0)), ((1.0, 0.0), (4.0, 2.0))  # common 2, union 8, hull 4 x 2
    FAR = ((3.0, 3.0), (4.0, 5.0))

    def test_overlapping(self) -> None:
        assert instance.generalised_iou(self.A, self.B) == pytest.approx(0.25)
        assert instance.distance_iou(self.A, self.B) == pytest.approx(0.25 - 1.5**2 / 20)
        v = 4 / math.pi**2 * (math.pi / 4 - math.atan(1.5)) ** 2
        assert instance.complete_iou(self.A, self.B) == pytest.approx(0.25 - 1.5**2 / 20 - v**2 / (0.75 + v))

    def test_apart(self) -> None:
        assert instance.generalised_iou(self.A, self.FAR) == pytest.approx(-(20 - 6) / 20)
        assert instance.distance_iou(self.A, self.FAR) == pytest.approx(-(2.5**2 + 3**2) / (16 + 25))

    def test_solid(self) -> None:
        a, b = ((0, 0, 0), (2, 2, 2)), ((1, 1, 1), (3, 3, 3))
        assert instance.generalised_iou(a, b) == pytest.approx(1 / 15 - (27 - 15) / 27)
        assert instance.distance_iou(a, b) == pytest.approx(1 / 15 - 3 / 27)

    @pytest.mark.parametrize("name", ["generalised_iou", "distance_iou", "complete_iou"])
    def test_a_box_with_itself(self, name: str) -> None:
        assert getattr(instance, name)(self.A, self.A) == 1
        assert getattr(instance, name)(((1, 1), (1, 1)), ((1, 1), (1, 1))) == 0

    @pytest.mark.parametrize("name", ["generalised_iou", "distance_iou", "complete_iou"])
    def test_against_torchvision(self, name: str) -> None:
        ops = pytest.importorskip("torchvision.ops")
        peer = getattr(ops, {"generalised_iou": "generalized_box_iou"}.get(name, name.replace("_iou", "_box_iou")))
        rng = np.random.default_rng(0)
        lows = rng.random((2, 8, 2))
        highs = lows + 0.1 + rng.random((2, 8, 2))
        boxes = torch.tensor(np.concatenate([lows, highs], axis=-1))
        expected = peer(boxes[0], boxes[1]).numpy()
        for i in range(8):
            for j in range(8):
                value = getattr(instance, name)((lows[0, i], highs[0, i]), (lows[1, j], highs[1, j]))
                assert value == pytest.approx(expected[i, j], abs=1e-6)
