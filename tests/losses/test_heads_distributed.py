"""Two processes with unequal shares of a batch, one without a lesion, make of auxiliary heads what one process with all of it does."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.multiprocessing as mp

from tests.losses.heads_on_two_ranks import data, make_loss, steps, train_rank


class TestTwoProcesses:
    def test_values_gradients_and_centres_are_those_of_one(self, tmp_path: Path) -> None:
        mp.start_processes(train_rank, args=(str(tmp_path),), nprocs=2, start_method="spawn")
        values, gradients, centres = steps(make_loss(), *data())
        for rank, share in enumerate((slice(0, 3), slice(3, 4))):
            own_values, own_gradients, own_centres = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
            torch.testing.assert_close(own_values, values)
            torch.testing.assert_close(own_centres, centres)
            for name, gradient in own_gradients.items():
                torch.testing.assert_close(gradient, 2 * gradients[name][share])  # which averaging over the ranks halves
        assert (centres != 0).all()
