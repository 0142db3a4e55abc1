"""Tiny copies of the public 3-D data sets of lesions and tumours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.formats.trees import AFFINE, VOLUME, Expected, Tree, ramp, save_volume


def wmh2017(root: Path, training: str = "training/", third: str = "Amsterdam/GE3T") -> Tree:
    """Other pathology (2) is ignored; ids repeat between sites; folders of the raw images lie beside."""
    tree = Tree(root, ["FLAIR", "T1"], ["wmh"])
    cases = [(training, "Utrecht", "0"), (training, "Singapore", "0"), (training, third, "100")]
    for split, site, number in cases + [("test/", "Amsterdam/Philips_VU .PETMR_01.", "160")] * bool(training):
        folder = f"{split}{site}/{number}"
        image = tree.channels_of([f"{folder}/pre/FLAIR.nii.gz", f"{folder}/pre/T1.nii.gz"])
        tree.channels_of([f"{folder}/orig/{name}.nii.gz" for name in ("FLAIR", "T1", "3DT1")])
        tree.junk(f"{folder}/orig/reg_3DT1_to_FLAIR.txt")
        masks = tree.labels(f"{folder}/wmh.nii.gz", {"wmh": 1, "ignore": 2})
        name = f"{site}_{number}".replace("/", "_")
        (tree.tests if split == "test/" else tree.cases)[name] = Expected(name, masks, image, masks.pop("ignore"))
    return tree.litter()


def wmh2017_old(root: Path) -> Tree:
    """The zips of the challenge: one folder per site."""
    return wmh2017(root, "", "GE3T")


def msseg2016(root: Path) -> Tree:
    """Patients count from 1 in every centre and part."""
    names = ["FLAIR", "T1", "T2", "DP", "GADO"]
    tree = Tree(root, names, ["lesion"])
    for folder in ("Training/Center_01/Patient_01", "Training/Center_07/Patient_01", "Testing/Center_01/Patient_01"):
        image = tree.channels_of([f"{folder}/Preprocessed_Data/{name}_preprocessed.nii.gz" for name in names])
        tree.volume(f"{folder}/Raw_Data/FLAIR.nii.gz")
        mask = tree.drawing(f"{folder}/Masks/Consensus.nii.gz")
        for other in ("Brain_Mask", "ManualSegmentation_1"):
            tree.drawing(f"{folder}/Masks/{other}.nii.gz")
        name = folder.replace("/", "_")
        (tree.tests if folder.startswith("Testing") else tree.cases)[name] = Expected(name, {"lesion": mask}, image)
    return tree.litter()


OTHER_GRID = np.array([[-2.0, 0, 0, 34], [0, 2.0, 0, -24], [0, 0, 2.0, 2], [0, 0, 0, 1]])
"""A grid that encloses VOLUME's; voxels of 2 mm."""


def other_grid(tree: Tree, name: str) -> np.ndarray:
    """Write a ramp in another grid, and return it in the grid of the others."""
    save_volume(tree.path(name), ramp((8, 8, 8), OTHER_GRID), OTHER_GRID)
    return ramp(VOLUME, AFFINE)[None]


def msseg2016_old(root: Path) -> Tree:
    """The older download, every sequence in its own grid."""
    tree = Tree(root, ["FLAIR", "T1", "T2", "DP", "GADO"], ["lesion"])
    for patient in ("01016SACH", "01038PAGU"):
        folder = f"TrainingDataset_MSSEG/{patient}"
        flair = tree.volume(f"{folder}/3DFLAIR.nii.gz")
        image = np.concatenate([flair, *(other_grid(tree, f"{folder}/{name}.nii.gz") for name in ("3DT1", "T2", "DP", "3DT1GADO"))])
        name = folder.replace("/", "_")
        tree.cases[name] = Expected(name, {"lesion": tree.drawing(f"{folder}/Consensus.nii.gz")}, image)
    return tree.litter()


def mslesseg(root: Path) -> Tree:
    """T1 is a visit and a sequence; test patients have no folder for the visit."""
    tree = Tree(root, ["FLAIR", "T1", "T2"], ["lesion"])
    for folder, name in [("train/P1/T1", "P1_T1"), ("train/P1/T2", "P1_T2"), ("train/P10/T1", "P10_T1"), ("test/P54", "P54")]:
        image = tree.channels_of([f"{folder}/{name}_{sequence}.nii.gz" for sequence in tree.channels])
        mask = tree.drawing(f"{folder}/{name}_MASK.nii.gz")
        (tree.tests if name == "P54" else tree.cases)[name] = Expected(name.split("_")[0], {"lesion": mask}, image)
    return tree.litter()


def isles2022(root: Path, forms: tuple[str, str, str, str] = ("", "dwi/", "anat/", "FLAIR")) -> Tree:
    """FLAIR in a grid of its own, an empty mask."""
    above, dwi, anat, flair = forms
    tree = Tree(root, ["DWI", "ADC", "FLAIR"], ["lesion"])
    tree.junk("participants.tsv", "dataset_description.json")
    for name, empty in [("sub-strokecase0001", False), ("sub-strokecase0002", True)]:
        folder, file = f"{above}{name}/ses-0001", f"{name}_ses-0001"
        image = tree.channels_of([f"{folder}/{dwi}{file}_{sequence}.nii.gz" for sequence in ("dwi", "adc")])
        image = np.concatenate([image, other_grid(tree, f"{folder}/{anat}{file}_{flair}.nii.gz")])
        tree.junk(f"{folder}/{dwi}{file}_dwi.json")
        mask = tree.drawing(f"derivatives/{name}/ses-0001/{file}_msk.nii.gz", empty=empty)
        tree.cases[name] = Expected(name, {"lesion": mask}, image)
    return tree.litter()


def isles2022_challenge(root: Path) -> Tree:
    return isles2022(root, ("rawdata/", "", "", "flair"))


def atlas_v2(root: Path) -> Tree:
    tree = Tree(root, ["T1"], ["lesion"])
    for split, name in [("Training", "r001s001"), ("Training", "r002s001"), ("Testing", "r003s001")]:
        stem = f"{split}/{name[:4].upper()}/sub-{name}/ses-1/anat/sub-{name}_ses-1_space-MNI152NLin2009aSym_"
        image = tree.volume(f"{stem}T1w.nii.gz")
        masks = {"lesion": tree.drawing(f"{stem}label-L_desc-T1lesion_mask.nii.gz")} if split == "Training" else None
        (tree.cases if masks else tree.tests)[f"sub-{name}_ses-1"] = Expected(f"sub-{name}", masks, image)
    tree.junk("Training/dataset_description.json")
    return tree.litter()


TISSUES = {"necrosis": 1, "oedema": 2, "enhancing": 4}
REGIONS = {
    "whole_tumour": ("oedema", "necrosis", "enhancing"),
    "tumour_core": ("necrosis", "enhancing"),
    "enhancing_tumour": ("enhancing",),
}


def regions_of(tree: Tree, regions: dict[str, tuple[str, ...]]) -> Tree:
    """The same files, read as overlapping regions."""
    tree.classes = list(regions)
    for case in tree.cases.values():
        masks = case.masks or {}
        case.masks = {name: np.any([masks[part] for part in parts], axis=0) for name, parts in regions.items()}
    return tree


def brats2020(root: Path, suffix: str = "nii") -> Tree:
    """Case 355 has a mask of another name."""
    tree = Tree(root, ["FLAIR", "T1", "T1ce", "T2"], list(TISSUES))
    tree.junk("name_mapping.csv", "survival_info.csv")
    for number in ("001", "355"):
        name = f"BraTS20_Training_{number}"
        image = tree.channels_of([f"{name}/{name}_{sequence.lower()}.{suffix}" for sequence in tree.channels])
        mask = "W39_1998.09.19_Segm" if number == "355" else f"{name}_seg"
        tree.cases[name] = Expected(name, tree.labels(f"{name}/{mask}.{suffix}", TISSUES), image)
    return tree.litter()


def brats2020_gzipped(root: Path) -> Tree:
    return brats2020(root, "nii.gz")


def brats2020_regions(root: Path) -> Tree:
    return regions_of(brats2020(root), REGIONS)


def brats2023(root: Path) -> Tree:
    """Two visits of one patient."""
    tree = Tree(root, ["T2f", "T1n", "T1c", "T2w"], list(TISSUES))
    for name in ("BraTS-GLI-00000-000", "BraTS-GLI-00000-001", "BraTS-GLI-00002-000"):
        image = tree.channels_of([f"{name}/{name}-{sequence.lower()}.nii.gz" for sequence in tree.channels])
        masks = tree.labels(f"{name}/{name}-seg.nii.gz", {**TISSUES, "enhancing": 3})
        tree.cases[name] = Expected(name[6:-4], masks, image)
    return tree.litter()


def brats2023_regions(root: Path) -> Tree:
    return regions_of(brats2023(root), REGIONS)


UIDS = (
    "1.3.6.1.4.1.14519.5.2.1.6279.6001.105756658031515062000744821260",
    "1.3.6.1.4.1.14519.5.2.1.6279.6001.108197895896446896160048741492",
)


def luna16(root: Path) -> Tree:
    tree = Tree(root, ["CT"], ["nodule"])
    for uid in UIDS:
        image = tree.volume(f"images/{uid}.nii.gz")
        tree.cases[uid] = Expected(uid, {"nodule": tree.drawing(f"masks/{uid}.nii.gz")}, image)
    return tree.litter()


def luna16_subsets(root: Path) -> Tree:
    """The challenge's images with masks beside."""
    tree = Tree(root, ["CT"], ["nodule"])
    tree.junk("annotations.csv")
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for subset, uid in enumerate(UIDS):
        image = tree.volume(f"subset{subset}/{uid}.mhd", affine=affine)
        tree.cases[uid] = Expected(uid, {"nodule": tree.drawing(f"masks/{uid}.mhd", affine)}, image)
    return tree.litter()


def lidc_idri(root: Path) -> Tree:
    """Two scans of one patient."""
    tree = Tree(root, ["CT"], ["nodule"])
    for name in ("LIDC-IDRI-0001", "LIDC-IDRI-0132", "LIDC-IDRI-0132_2"):
        image = tree.volume(f"images/{name}.nii.gz")
        tree.cases[name] = Expected(name[:14], {"nodule": tree.drawing(f"masks/{name}.nii")}, image)
    return tree.litter()


def lits(root: Path, folders: tuple[str, str, str] = ("Training Batch 1", "Training Batch 1", "nii")) -> Tree:
    """Test volumes have the numbers of training volumes, and no masks."""
    volumes, masks, suffix = folders
    tree = Tree(root, ["CT"], ["liver", "tumour"])
    for number in (0, 10):
        image = tree.volume(f"{volumes}/volume-{number}.{suffix}")
        label = tree.labels(f"{masks}/segmentation-{number}.{suffix}", {"liver": 1, "tumour": 2})
        tree.cases[f"volume-{number}"] = Expected(f"volume-{number}", label, image)
    image = tree.volume(f"test/test-volume-0.{suffix}")
    tree.tests["test-volume-0"] = Expected("test-volume-0", None, image)
    return tree.litter()


def lits_apart(root: Path) -> Tree:
    """Volumes and segmentations in folders of their own, compressed."""
    return lits(root, ("volumes", "segmentations", "nii.gz"))


def kits23(root: Path, above: str = "dataset/") -> Tree:
    """A case whose image was not downloaded is left out; instances are not used."""
    tree = Tree(root, ["CT"], ["kidney", "tumour", "cyst"])
    values = {"kidney": 1, "tumour": 2, "cyst": 3}
    for name in ("case_00000", "case_00400"):
        image = tree.volume(f"{above}{name}/imaging.nii.gz")
        tree.cases[name] = Expected(name, tree.labels(f"{above}{name}/segmentation.nii.gz", values), image)
        tree.drawing(f"{above}{name}/instances/kidney_instance-1_annotation-1.nii.gz")
    tree.labels(f"{above}case_00401/segmentation.nii.gz", values)
    tree.lonely = (f"{above}case_00401/segmentation.nii.gz",)
    tree.junk(f"{above}kits23.json")
    return tree.litter()


def kits23_inner(root: Path) -> Tree:
    return kits23(root, "")


def kits23_regions(root: Path) -> Tree:
    parts = {"kidney_and_mass": ("kidney", "cyst", "tumour"), "mass": ("cyst", "tumour"), "tumour": ("tumour",)}
    return regions_of(kits23(root), parts)


LESION_TREES = {
    "wmh2017": [wmh2017, wmh2017_old],
    "msseg2016": [msseg2016, msseg2016_old],
    "mslesseg": [mslesseg],
    "isles2022": [isles2022, isles2022_challenge],
    "atlas_v2": [atlas_v2],
    "brats2020": [brats2020, brats2020_gzipped],
    "brats2020_regions": [brats2020_regions],
    "brats2023": [brats2023],
    "brats2023_regions": [brats2023_regions],
    "luna16": [luna16, luna16_subsets],
    "lidc_idri": [lidc_idri],
    "lits": [lits, lits_apart],
    "kits23": [kits23, kits23_inner],
    "kits23_regions": [kits23_regions],
}
