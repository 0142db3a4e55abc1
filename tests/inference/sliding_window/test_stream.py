from __future__ import annotations

import logging

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from medseg.inference.sliding_window import Skip, predict_logits, stream_logits
from tests.inference.sliding_window.networks import Forgetful, Pointwise, network, peak_bytes


def image(*shape: int) -> Tensor:
    """Random, and 0 at its lowest in each channel, which is what MONAI pads with."""
    values = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    return values - values.flatten(1).amin(1).view(-1, *(1,) * len(shape))


SHAPES = [(17, 12, 9), (8, 8, 8), (5, 20, 7), (3, 4, 5), (30, 9, 9), (33, 21), (7, 9), (3, 30), (1, 1), (16, 64)]


class TestAgainstMonai:
    @pytest.mark.parametrize("blending", ["gaussian", "constant"])
    @pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_logits_agree_and_labels_are_the_same(self, shape: tuple[int, ...], overlap: float, blending: str) -> None:
        net, x, window = network(len(shape)), image(*shape), (8, 9, 7)[: len(shape)]
        with torch.no_grad():
            expected = sliding_window_inference(x[None], window, 3, net, overlap=overlap, mode=blending)[0]
        for axis in range(len(shape)):
            parts = [part.clone() for _, part in stream_logits(net, x, window, axis=axis, overlap=overlap, blending=blending, batch_size=3)]  # type: ignore[arg-type]
            logits = torch.cat(parts, dim=axis + 1)
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
            assert torch.equal(logits.argmax(0), expected.argmax(0))

    @pytest.mark.parametrize("blending", ["gaussian", "constant"])
    def test_along_the_first_axis_the_sums_are_the_same_bit_for_bit(self, blending: str) -> None:
        net, x = network(3), image(20, 18, 19)
        with torch.no_grad():
            expected = sliding_window_inference(x[None], (8, 8, 8), 2, net, overlap=0.5, mode=blending)[0]
        assert torch.equal(predict_logits(net, x, (8, 8, 8), blending=blending, batch_size=2), expected)

    @pytest.mark.parametrize("blending", ["gaussian", "constant"])
    def test_windows_are_weighted_as_asked(self, blending: str) -> None:
        net, x = network(2), image(20, 8)
        first, second = (predict_logits(net, x, (8, 8), overlap=0.5, blending=kind) for kind in ("gaussian", "constant"))
        assert not torch.allclose(first, second)

    def test_overlap_is_obeyed(self) -> None:
        counts = []
        for overlap in (0.0, 0.5, 0.75):
            net = Pointwise().eval()
            predict_logits(net, image(32, 8), (8, 8), overlap=overlap)
            counts.append(sum(net.batches))
        assert counts == [4, 7, 13]


class TestSlabs:
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_they_follow_each_other_and_cover_the_image(self, axis: int) -> None:
        x, ends = image(21, 17, 30), [0]
        for rows, part in stream_logits(Pointwise().eval(), x, (8, 8, 8), axis=axis):
            assert rows.start == ends[-1]
            assert part.shape[axis + 1] == rows.stop - rows.start
            ends.append(rows.stop)
        assert ends[-1] == x.shape[axis + 1]
        assert len(ends) > 3

    def test_batches_go_on_across_slabs(self) -> None:
        net = Pointwise().eval()
        predict_logits(net, image(24, 8, 24), (8, 8, 8), overlap=0.0, batch_size=4)  # 3 slabs of 3 windows
        assert net.batches == [4, 4, 1]

    def test_only_the_open_slab_is_in_memory(self) -> None:
        net, x = Pointwise().eval(), torch.rand(1, 192, 32, 24)

        def stream() -> None:
            for _ in stream_logits(net, x, (16, 16, 16), batch_size=1):
                pass

        whole, window = 4 * 2 * x.numel(), 4 * 16**3
        assert peak_bytes(stream) < whole * 16 / 192 + 8 * window + 4 * 2**16
        with torch.no_grad():
            assert peak_bytes(lambda: sliding_window_inference(x[None], (16, 16, 16), 1, net, overlap=0.5)) > 1.5 * whole


class TestMirroring:
    def test_it_is_the_mean_over_all_combinations(self) -> None:
        net, x = network(3), image(8, 8, 8)
        with torch.no_grad():
            flips: list[tuple[int, ...]] = [(), (2,), (4,), (2, 4)]
            expected = sum(net(x[None].flip(axes)).flip(axes) for axes in flips)[0] / 4  # type: ignore[union-attr]
        torch.testing.assert_close(predict_logits(net, x, (8, 8, 8), mirror_axes=(0, 2)), expected)

    def test_no_axes_is_one_pass(self) -> None:
        net = Pointwise().eval()
        predict_logits(net, image(8, 8), (8, 8))
        assert len(net.batches) == 1
        predict_logits(net, image(8, 8), (8, 8), mirror_axes=(0, 1))
        assert len(net.batches) == 5

    def test_a_network_that_returns_its_input_is_not_overwritten(self) -> None:
        x = image(20, 9)
        logits = predict_logits(torch.nn.Identity().eval(), x, (8, 8), mirror_axes=(0,))
        torch.testing.assert_close(logits, x)

    @pytest.mark.parametrize("axes", [(2,), (-1,), (0, 0)])
    def test_axes_that_are_not_there_are_refused(self, axes: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="mirror_axes"):
            predict_logits(network(2), image(8, 8), (8, 8), mirror_axes=axes)


class TestNumberFormats:
    @pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("mirror_axes", [(), (0,)])
    def test_sums_are_in_float32(self, kind: torch.dtype, mirror_axes: tuple[int, ...]) -> None:
        seen = []

        class Spy(torch.nn.Conv2d):
            def forward(self, x: Tensor) -> Tensor:
                seen.append(super().forward(x).dtype)
                return super().forward(x)

        net, x = Spy(2, 3, 3, padding=1).eval(), image(40, 12)
        logits = predict_logits(net, x, (8, 8), overlap=0.75, autocast=kind, mirror_axes=mirror_axes)
        assert logits.dtype == torch.float32
        assert set(seen) == {kind}
        torch.testing.assert_close(logits, predict_logits(net, x, (8, 8), overlap=0.75, mirror_axes=mirror_axes), rtol=0.02, atol=0.02)
        assert not torch.equal(logits, logits.to(kind).float())


class TestSkipping:
    def test_windows_that_matter_not_are_background_and_not_looked_at(self) -> None:
        net, x = Pointwise().eval(), torch.ones(1, 32, 8)
        skip = Skip(lambda box: box[0].start >= 16, torch.tensor([9.0, -9.0]))
        logits = predict_logits(net, x, (8, 8), overlap=0.0, skip=skip)
        assert sum(net.batches) == 2
        assert logits[:, :16].unique(dim=1).flatten(1).tolist() != logits[:, 16:].unique(dim=1).flatten(1).tolist()
        assert torch.equal(logits[0, :16], torch.full((16, 8), 9.0))
        assert torch.equal(logits[0, 16:], torch.ones(16, 8))
        assert torch.equal(logits[1, 16:], -torch.ones(16, 8))

    def test_a_voxel_in_any_window_that_was_looked_at_has_its_logits(self) -> None:
        skip = Skip(lambda box: box[0].start == 8, torch.tensor([9.0, -9.0]))
        logits = predict_logits(Pointwise().eval(), torch.ones(1, 32, 8), (8, 8), overlap=0.5, skip=skip)
        assert torch.equal(logits[0, :, 0], torch.tensor([9.0] * 8 + [1.0] * 8 + [9.0] * 16))

    def test_nothing_to_look_at_is_all_background(self) -> None:
        logits = predict_logits(Pointwise().eval(), torch.ones(1, 32, 8), (8, 8), skip=Skip(lambda box: False, torch.tensor([9.0, -9.0])))
        assert logits.flatten(1).unique(dim=1).tolist() == [[9.0], [-9.0]]


class TestOutOfMemory:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
            (RuntimeError, "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ..."),
            (RuntimeError, "MPS backend out of memory"),
            (MemoryError, ""),
        ],
    )
    def test_batches_are_halved_until_they_fit(self, caplog: pytest.LogCaptureFixture, error: type[Exception], text: str) -> None:
        net, x = Forgetful(2, error, text).eval(), image(40, 8)
        logits = predict_logits(net, x, (8, 8), batch_size=8)
        torch.testing.assert_close(logits[0], x[0])
        assert max(net.batches) == 2
        assert [record.message for record in caplog.records] == [f"out of memory: windows are predicted {n} at a time" for n in (4, 2)]
        assert caplog.records[0].levelno == logging.WARNING

    def test_what_is_no_lack_of_memory_is_raised(self) -> None:
        net = Forgetful(0, RuntimeError, "mat1 and mat2 shapes cannot be multiplied").eval()
        with pytest.raises(RuntimeError, match="mat1"):
            predict_logits(net, image(40, 8), (8, 8))

    def test_at_the_end_of_all_means_it_is_raised(self) -> None:
        with pytest.raises(MemoryError):
            predict_logits(Forgetful(0, MemoryError, "").eval(), image(40, 8), (8, 8), notify=lambda text: None)

    def test_the_listener_is_told_instead_of_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        told: list[str] = []
        predict_logits(Forgetful(1).eval(), image(40, 8), (8, 8), batch_size=2, notify=told.append)
        assert told == ["out of memory: windows are predicted 1 at a time"]
        assert not caplog.records
