"""The schema of a config file: one dataclass a section, every key documented under its field.

Typed with plain standard-library annotations, so that the checker can walk them without importing torch. A `Component` names an
entry of one of medseg's registries; its `params` are checked against that entry's own signature (see `signatures.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Normalisation = Literal["zscore", "ct", "unit", "none"]
"""How intensities are brought to one scale."""


@dataclass
class Component:
    """A registered thing by name, with the keyword arguments of its constructor."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)


SEGMENTATION = "segmentation"
"""Key of the logits among the outputs of a network with heads; no head can be called so."""


@dataclass
class NetworkConfig(Component):
    """A network, and the auxiliary heads that it has in training."""

    heads: dict[str, Component] = field(default_factory=dict)
    """Name -> head: a key of `medseg.losses.HEADS`. A term of the loss names the head that it acts on."""


@dataclass
class WeightSchedule:
    """A term's weight as a function of the epoch, moving from `start` to `end` over `epochs` epochs and then staying."""

    schedule: Literal["linear", "cosine"]
    start: float
    end: float
    epochs: int


@dataclass
class TermConfig:
    """One term of the weighted sum."""

    name: str
    """A key of `medseg.losses.TERMS`."""
    weight: float | WeightSchedule = 1.0
    """Factor of this term, >= 0: a number or a schedule."""
    params: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the term's constructor."""
    head: str | None = None
    """The head of `network.heads` that it acts on; null for the segmentation."""


@dataclass
class LossConfig:
    """A weighted sum of terms that share one activation, one mask and one pass over the voxels."""

    activation: Literal["softmax", "sigmoid"]
    """`softmax` for exclusive classes, `sigmoid` for overlapping regions or independent binary maps."""
    terms: list[TermConfig]
    """The terms of the sum, at least one."""
    include_background: bool = False
    """Whether region terms count the background class too (softmax only)."""
    reduce_over: Literal["sample", "batch"] = "batch"
    """Whether the soft counts are one set a sample, averaged afterwards, or one set for the whole batch (over all ranks)."""
    empty: Literal["smooth", "skip", "volume", "batch"] = "smooth"
    """What a region term does where the reference is empty: see `medseg.losses`."""
    ignore_index: int | None = None
    """Target value that counts as no voxel at all. A data set with an ignore label sets it by itself."""
    weight_map: Component | None = None
    """What each voxel counts in every term, made of the target: a key of `medseg.losses.WEIGHT_MAPS`; null counts all alike."""
    share_every: int = 10
    """Optimiser steps between measurements of each term's share of the gradient, logged as `train/share/<term>`; 0 never measures."""
    balance: Literal["none", "gradient"] = "none"
    """`gradient`: weights mean the wanted shares of the gradient, and follow the measured ones; see `medseg.losses.balance`."""


@dataclass
class SamplerConfig(Component):
    """One way to choose where patches are centred, and its share of them."""

    fraction: float = 1.0
    """Share of the patches, in [0, 1]; the shares of all samplers add up to 1."""


@dataclass
class CopyPasteConfig:
    """Lesions copied from other training cases into patches, each lesion of the data set equally likely whatever its size."""

    probability: float = 0.3
    """Share of the patches that get any."""
    lesions: int = 3
    """Most lesions a patch gets; the number is drawn from 1 to this."""
    classes: list[str] | None = None
    """The classes whose lesions are copied; null: all."""


@dataclass
class DataConfig:
    """Where the images come from and how they become batches."""

    format: Component
    """What lies on disk: a key of `medseg.data.FORMATS`."""
    patch_size: list[int]
    """Training patch in voxels; its length, 2 or 3, says whether the run is 2-D or 3-D."""
    module: Literal["small_lesion", "organ"] = "small_lesion"
    """Half of the patches are centred on lesions (`small_lesion`) or on classes (`organ`), each equally likely; `sampling` refines."""
    root: str | None = None
    """Folder of the data set. Not needed for phantoms."""
    folds: int = 5
    """Number of cross-validation folds; a group (patient) is never split."""
    fold: int = 0
    """The fold that validates."""
    split_seed: int = 0
    """Seed of the folds and of the test set, apart from `seed`, so that runs with other seeds are scored on the same cases."""
    test_fraction: float = 0.0
    """Share of the groups held out for the closing test, never used to train or to choose a checkpoint."""
    split_file: str | None = None
    """JSON list of `{"train": [...], "val": [...]}`, as nnU-Net's splits_final.json; replaces the seeded folds."""
    normalisation: Normalisation | list[Normalisation] = "zscore"
    """Intensities, one name or one a channel: `zscore` per case and channel; `ct` clips to the training foreground's 0.5 to 99.5 % and
    standardises; `unit` maps to [0, 1], by the type's range for 8-bit images and the case's otherwise; `none`."""
    spacing: list[float] | None = None
    """Resample to this voxel size in mm; null keeps each image's own."""
    batch_size: int = 2
    """Patches a step, over all devices."""
    patches_per_epoch: int = 100
    """Patches drawn in an epoch, over all devices."""
    sampling: list[SamplerConfig] | None = None
    """What patches are centred on: keys of `medseg.data.SAMPLERS` with their shares; null: half on what `module` says, half anywhere."""
    augmentation: Component = field(default_factory=lambda: Component("nnunet"))
    """A key of `medseg.data.AUGMENTATIONS`."""
    augment_on: Literal["auto", "worker", "device"] = "auto"
    """Where patches are augmented: in the loader's processes or batched on the GPU; `auto`: on the GPU where there is one."""
    copy_paste: CopyPasteConfig | None = None
    """Lesions of other cases pasted into patches; null: none."""
    workers: int = 0
    """Loader processes; 0 loads in the main process."""
    store: str = "data/prepared"
    """Folder of the prepared stores: cases are read, turned and resampled once, and mapped into memory from then on."""
    cache_gib: float = 4.0
    """Memory for unpacked cases, of each training process; loader processes share it. Cases beyond it are unpacked box by box."""


@dataclass
class TrainerConfig:
    """How the optimisation runs."""

    max_epochs: int = 20
    """Epochs; the schedule ends there."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """`auto` is bf16-mixed where the hardware has it, 32-true otherwise."""
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """Device kind."""
    devices: int = 1
    """Devices (processes) on this machine; more than one trains with DDP."""
    nodes: int = 1
    """Machines, when started by SLURM or torchrun."""
    channels_last: bool = True
    """Memory format of images and weights; faster in bf16 nearly everywhere."""
    gradient_clip: float = 0.0
    """Largest gradient norm; 0 does not clip."""
    accumulate: int = 1
    """Batches whose gradients are summed before a step."""


@dataclass
class ValidationConfig:
    """Scoring of whole cases during training."""

    every_epochs: int = 1
    """Validate after every so many epochs, and after the last."""
    monitor: str | None = None
    """Metric whose mean over classes and cases chooses `best.ckpt`; null: `evaluation.primary`."""


@dataclass
class PostprocessingConfig:
    """What is done to a label map after the network, by class name. Chosen on the validation cases, or given here."""

    choose: bool = False
    """Choose all of it on the validation cases by `evaluation.primary`, once training has ended; each step must earn its place."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Class -> probability from which a voxel may belong to it."""
    minimum_size: dict[str, float] = field(default_factory=dict)
    """Class -> components smaller than this many mm^3 (mm^2 in 2-D) are removed."""
    largest_component: list[str] = field(default_factory=list)
    """Classes of which only the largest component is kept."""
    fill_holes: list[str] = field(default_factory=list)
    """Classes whose holes (background enclosed by the class) are filled."""


@dataclass
class InferenceConfig:
    """Sliding window over whole cases."""

    window: list[int] | None = None
    """Window in voxels; null takes `data.patch_size`."""
    overlap: float = 0.5
    """Share of a window that overlaps its neighbour."""
    blending: Literal["gaussian", "constant"] = "gaussian"
    """Weight of a voxel within its window."""
    batch_size: int = 4
    """Windows a forward pass."""
    mirror_axes: list[int] = field(default_factory=list)
    """Test-time augmentation: the image is also predicted mirrored along every combination of these axes, and logits are averaged. Not
    in the validation of training epochs, which it would slow down for nothing."""
    skip: Literal["none", "nonzero", "body"] = "none"
    """Windows that are not looked at, and are background: `nonzero`: all voxels 0 in every channel; `body`: outside the body."""
    postprocessing: PostprocessingConfig = field(default_factory=PostprocessingConfig)
    """What follows the network."""


@dataclass
class EvaluationConfig:
    """Which numbers are computed, and by which rules. See `medseg.metrics.MetricOptions`."""

    metrics: list[str] = field(default_factory=list)
    """Keys of `medseg.metrics.METRICS`; empty: the standard ones."""
    primary: str = "dice"
    """The one metric that `medseg compare` tests, declared before training; all others are exploratory."""
    margin: float = 0.01
    """Two methods are practically equal when the primary metric's difference lies within this."""
    tolerances: list[float] | dict[str, list[float]] = field(default_factory=lambda: [1.0, 2.0, 3.0])
    """Of the normalised surface Dice, in mm: for all classes, or for each by name. Choose them from the error between two readers."""
    both_empty: Literal["exclude", "best"] = "exclude"
    """A class empty in prediction and reference: left out of the means and counted, or the best value (BraTS, ISLES)."""
    penalty: Literal["diagonal", "inf", "nan"] | float = "diagonal"
    """A distance where just one of the masks is empty: the image's diagonal, infinity, left out, or a number in mm (BraTS: 374)."""
    beta: float = 2.0
    """Weight of recall against precision in `f_beta`."""
    connectivity: Literal["faces", "edges", "corners"] = "corners"
    """What makes voxels one lesion: 6, 18 or 26 neighbours (4, 8, 8 in 2-D)."""
    lesion_iou: float = 0.0
    """0: a lesion is found when one voxel overlaps. Above: lesions are paired one to one, with at least this IoU."""
    minimum_lesion: float = 0.0
    """Reference lesions below this many mm^3 (mm^2 in 2-D) are not scored."""
    brats: Literal["gli", "met"] = "gli"
    """Which settings of the BraTS-2023 lesion-wise scores."""
    probabilities: bool = True
    """Whether the closing evaluation also looks at probabilities: FROC, average precision and calibration."""
    report: bool = True
    """Whether a run ends with its report."""


@dataclass
class Config:
    """A whole run."""

    name: str
    """Name of the experiment and of its folder below `runs_dir`."""
    data: DataConfig
    network: NetworkConfig
    """A key of `medseg.networks.NETWORKS`."""
    loss: LossConfig
    optimizer: Component = field(default_factory=lambda: Component("adamw"))
    """A key of `medseg.training.OPTIMIZERS`."""
    schedule: Component = field(default_factory=lambda: Component("cosine"))
    """A key of `medseg.training.SCHEDULES`."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seed: int = 0
    """Seed of patches, augmentation and weights."""
    runs_dir: str = "runs"
    """Folder of all runs."""
