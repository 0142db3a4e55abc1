"""Time medseg's inference beside MONAI's and nnU-Net's, and measure the memory of each.

    python scripts/benchmark_inference.py                      # a volume of 224 x 224 x 160, five classes
    python scripts/benchmark_inference.py --only speed --rounds 9 --threads 2
    python scripts/benchmark_inference.py --only memory --shape 512 512 300 --classes 14 --window 96

All run the same network with the same windows over the same image, down to a label map. Speed: CPU seconds, the candidates taking turns in
one process, medians over the rounds, ratios to medseg. Memory: the highest resident memory above that before the prediction, each in a
process of its own that has predicted a small image before; medians over the rounds. The network is as good as free, so that what is
compared is what lies around it: a real network needs its own time and memory on top, with whatever it is run by. nnU-Net predicts window
by window and sums up in float16 at places of its own, so that its labels are others; it is left out where it is not installed
(`pip install nnunetv2`).
"""

from __future__ import annotations

import argparse
import os
import sys

if "--threads" not in sys.argv:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import importlib.util
import json
import platform
import statistics
import subprocess
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

Prediction = Callable[[Tensor], np.ndarray]
"""Image (C, *spatial) to labels (*spatial)."""


def light_network(dims: int, classes: int) -> nn.Module:
    """Logits of blocks of 4 voxels, repeated: hardly any time or memory beside that of its output."""
    torch.manual_seed(0)
    kind = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(kind(1, 8, 4, stride=4), nn.ReLU(), kind(8, classes, 1), nn.Upsample(scale_factor=4)).eval()


def medseg(network: nn.Module, options: argparse.Namespace) -> Prediction:
    """`Predictor.predict` of a prepared case."""
    from medseg.data.case import Case
    from medseg.data.geometry import Geometry
    from medseg.data.labels import LabelSchema
    from medseg.data.preparation import PreparedCase, Preparer
    from medseg.inference import Predictor

    labels = LabelSchema.exclusive({"background": 0} | {f"class {value}": value for value in range(1, options.classes)})
    window = (options.window,) * len(options.shape)
    predictor = Predictor(network, Preparer("none"), labels, "softmax", window=window, overlap=options.overlap, batch_size=options.batch)

    def predict(image: Tensor) -> np.ndarray:
        grid = Geometry(tuple(image.shape[1:]), np.eye(4))
        return predictor.predict(PreparedCase(Case("case", (), None, ""), image.numpy(), None, grid, grid, None))

    return predict


def monai(network: nn.Module, options: argparse.Namespace) -> Prediction:
    """`sliding_window_inference`, then argmax."""
    from monai.inferers import sliding_window_inference

    window = (options.window,) * len(options.shape)

    @torch.no_grad()
    def predict(image: Tensor) -> np.ndarray:
        logits = sliding_window_inference(image[None], window, options.batch, network, overlap=options.overlap, mode="gaussian")
        return logits.argmax(dim=1)[0].to(torch.uint8).numpy()

    return predict


def nnunet(network: nn.Module, options: argparse.Namespace) -> Prediction:
    """`predict_sliding_window_return_logits` without mirroring, then argmax."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, os.devnull)
    with silence():
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(1 - options.overlap, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.network = network
    predictor.configuration_manager = types.SimpleNamespace(patch_size=[options.window] * len(options.shape))
    predictor.label_manager = types.SimpleNamespace(num_segmentation_heads=options.classes)

    def predict(image: Tensor) -> np.ndarray:
        return predictor.predict_sliding_window_return_logits(image).argmax(0).to(torch.uint8).numpy()

    return predict


CANDIDATES: dict[str, tuple[str, Callable[[nn.Module, argparse.Namespace], Prediction]]] = {
    "medseg": ("torch", medseg),
    "MONAI": ("monai", monai),
    "nnU-Net": ("nnunetv2", nnunet),
}


def available(options: argparse.Namespace) -> list[str]:
    """The candidates whose package is installed; nnU-Net knows volumes only."""
    found = [name for name, (package, _) in CANDIDATES.items() if importlib.util.find_spec(package)]
    return [name for name in found if name != "nnU-Net" or len(options.shape) == 3]


@contextmanager
def silence() -> Iterator[None]:
    """Peers print as they are imported."""
    shown, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = shown


def speed(options: argparse.Namespace) -> dict[str, float]:
    """Print the CPU seconds of each, and the ratios to medseg; return the seconds."""
    network, image = light_network(len(options.shape), options.classes), torch.randn(1, *options.shape)
    predictions = {name: CANDIDATES[name][1](network, options) for name in available(options)}
    found: dict[str, list[float]] = {name: [] for name in predictions}
    labels = {name: predict(image) for name, predict in predictions.items()}
    for _ in range(options.rounds):
        for name, predict in predictions.items():
            start = time.process_time()
            predict(image)
            found[name].append(time.process_time() - start)
    seconds = {name: statistics.median(values) for name, values in found.items()}
    table("time of a prediction (CPU seconds, ratio to medseg)", seconds, "s")
    if "MONAI" in labels:
        same = np.count_nonzero(labels["medseg"] == labels["MONAI"])
        print(f"  voxels of the same label as MONAI's: {same} of {labels['medseg'].size}")
    return seconds


def memory(options: argparse.Namespace) -> dict[str, float]:
    """Print the highest memory of each, and the ratios to medseg; return MB."""
    found: dict[str, list[float]] = {name: [] for name in available(options)}
    digests: dict[str, str] = {}
    for _ in range(options.rounds):
        for name, values in found.items():
            command = [sys.executable, __file__, "--measure", name, "--only", "memory", *arguments(options)]
            paths = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
            if done.returncode:
                raise SystemExit(done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            values.append(result["peak"])
            digests[name] = result["labels"]
    peaks = {name: statistics.median(values) for name, values in found.items()}
    table("peak memory above that before (ratio to medseg)", peaks, "MB")
    if "MONAI" in digests:
        print(f"  labels of medseg and MONAI: {'equal' if digests['medseg'] == digests['MONAI'] else 'DIFFERENT'}")
    return peaks


def measure(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Peak of the resident memory of one prediction in MB, and a digest of its labels."""
    network = light_network(len(options.shape), options.classes)
    predict = CANDIDATES[name][1](network, options)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, *options.shape, generator=generator)
    predict(image[(slice(None), *[slice(options.window + 8)] * len(options.shape))].contiguous())
    start, peak, done = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    labels = predict(image)
    done.set()
    watcher.join()
    return {"peak": (max(peak[0], resident()) - start) / 2**20, "labels": hashlib.sha256(labels.tobytes()).hexdigest()}


def resident() -> float:
    """Bytes of this process that are in memory, from Linux's /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def table(title: str, results: dict[str, float], unit: str) -> None:
    """Print numbers and their ratio to ours."""
    print(f"\n{title}")
    for name, value in results.items():
        print(f"  {name:<8} {value:9.2f} {unit:<2} {value / results['medseg']:6.2f} x")


SECTIONS = {"speed": speed, "memory": memory}


def arguments(options: argparse.Namespace) -> list[str]:
    """The command line that gives these options again."""
    return [
        *("--shape", *map(str, options.shape)), *("--classes", str(options.classes)), *("--window", str(options.window)),
        *("--overlap", str(options.overlap)), *("--batch", str(options.batch)), *("--threads", str(options.threads)),
    ]  # fmt: skip


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs="+", default=[224, 224, 160], help="voxels of the image")
    parser.add_argument("--classes", type=int, default=5, help="with background")
    parser.add_argument("--window", type=int, default=64, help="voxels along every axis; a multiple of 4")
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=1, help="windows at a time; nnU-Net always takes one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", choices=CANDIDATES, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")  # the peers' own
    if options.measure is not None:
        with silence():
            result = measure(options.measure, options)
        print(json.dumps(result))
        return
    found = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "nnunetv2") if importlib.util.find_spec(name))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {found}")
    print(f"python scripts/{Path(__file__).name} --rounds {options.rounds} {' '.join(arguments(options))}")
    for name in options.only:
        SECTIONS[name](options)


if __name__ == "__main__":
    main()
