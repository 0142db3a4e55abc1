"""Tiny copies of the public 3-D data sets of organs, and the tasks of the Decathlon."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tests.data.formats.trees import AFFINE, VOLUME, Expected, Tree, painted_over, recipe_of, save_volume

ABDOMEN = ["spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "inferior_vena_cava"]
BTCV = [*ABDOMEN, "portal_and_splenic_vein", "pancreas", "right_adrenal_gland", "left_adrenal_gland"]
AMOS = [*ABDOMEN, "pancreas", "right_adrenal_gland", "left_adrenal_gland", "duodenum", "bladder", "prostate_or_uterus"]
PDDCA = {
    "brain_stem": "BrainStem",
    "chiasm": "Chiasm",
    "mandible": "Mandible",
    "left_optic_nerve": "OpticNerve_L",
    "right_optic_nerve": "OpticNerve_R",
    "left_parotid": "Parotid_L",
    "right_parotid": "Parotid_R",
    "left_submandibular": "Submandibular_L",
    "right_submandibular": "Submandibular_R",
}


def numbered(names: list[str]) -> dict[str, int]:
    return {name: value for value, name in enumerate(names, start=1)}


def decathlon(root: Path, name: str, cases: list[str], modalities: list[str], labels: list[str]) -> Tree:
    """Several modalities are the fourth axis of one file."""
    tree = Tree(root, modalities, labels)
    for case in cases:
        shape = (*VOLUME, len(modalities)) if len(modalities) > 1 else VOLUME
        image = tree.rng.integers(-100, 100, shape).astype(np.int16)
        test = case == cases[-1]
        save_volume(tree.path(f"images{'Ts' if test else 'Tr'}/{case}.nii.gz"), image, AFFINE)
        masks = None if test else tree.labels(f"labelsTr/{case}.nii.gz", numbered(labels))
        read = (image[None] if len(modalities) == 1 else np.moveaxis(image, -1, 0)).astype(np.float32)
        (tree.tests if test else tree.cases)[case] = Expected(case, masks, read)
    content = {
        "name": name,
        "tensorImageSize": "4D" if len(modalities) > 1 else "3D",
        "licence": "CC-BY-SA 4.0",
        "relase": "1.0",
        "modality": {str(number): modality for number, modality in enumerate(modalities)},
        "labels": {"0": "background", **{str(value): label for label, value in numbered(labels).items()}},
        "training": [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in tree.cases],
        "test": [f"./imagesTs/{case}.nii.gz" for case in tree.tests],
    }
    tree.path("dataset.json").write_text(json.dumps(content))
    return tree.litter()


TASKS: dict[str, tuple[str, list[str], list[str], list[str]]] = {
    "brain_tumour": (
        "BRATS",
        ["BRATS_001", "BRATS_002", "BRATS_485"],
        ["FLAIR", "T1w", "t1gd", "T2w"],
        ["edema", "non-enhancing tumor", "enhancing tumour"],
    ),
    "heart": ("LeftAtrium", ["la_003", "la_004", "la_001"], ["MRI"], ["left atrium"]),
    "liver": ("LIVER", ["liver_0", "liver_10", "liver_132"], ["CT"], ["liver", "cancer"]),
    "hippocampus": ("Hippocampus", ["hippocampus_001", "hippocampus_003", "hippocampus_002"], ["MRI"], ["Anterior", "Posterior"]),
    "prostate": ("PROSTATE", ["prostate_00", "prostate_01", "prostate_03"], ["T2", "ADC"], ["PZ", "TZ"]),
    "lung": ("Lung", ["lung_001", "lung_003", "lung_002"], ["CT"], ["cancer"]),
    "pancreas": ("Pancreas", ["pancreas_001", "pancreas_004", "pancreas_002"], ["CT"], ["pancreas", "cancer"]),
    "hepatic_vessel": ("HepaticVessel", ["hepaticvessel_001", "hepaticvessel_002", "hepaticvessel_003"], ["CT"], ["Vessel", "Tumour"]),
    "spleen": ("Spleen", ["spleen_2", "spleen_10", "spleen_1"], ["CT"], ["spleen"]),
    "colon": ("COLON", ["colon_001", "colon_005", "colon_002"], ["CT"], ["colon cancer primaries"]),
}


def btcv(root: Path, above: str = "") -> Tree:
    tree = Tree(root, ["CT"], BTCV)
    for number in ("0001", "0021"):
        image = tree.volume(f"{above}Training/img/img{number}.nii.gz")
        tree.cases[number] = Expected(number, tree.labels(f"{above}Training/label/label{number}.nii.gz", numbered(BTCV)), image)
    tree.tests["0061"] = Expected("0061", None, tree.volume(f"{above}Testing/img/img0061.nii.gz"))
    return tree.litter()


def btcv_outer(root: Path) -> Tree:
    return btcv(root, "Abdomen/RawData/")


def amos(root: Path, channel: str, kept: Callable[[int], bool]) -> Tree:
    """CT below and MR above 500 in the same folders; validation cases with labels, test cases without."""
    tree = Tree(root, [channel], AMOS)
    tree.junk("dataset.json", "labeled_data_meta_0000_0599.csv")
    for number, split in [(1, "Tr"), (410, "Tr"), (507, "Tr"), (600, "Tr"), (500, "Va"), (578, "Va"), (499, "Ts"), (501, "Ts")]:
        name = f"amos_{number:04d}"
        image = tree.volume(f"images{split}/{name}.nii.gz")
        masks = None if split == "Ts" else tree.labels(f"labels{split}/{name}.nii.gz", numbered(AMOS))
        if kept(number):
            (tree.cases if split == "Tr" else tree.tests)[name] = Expected(name, masks, image)
    return tree.litter()


def amos22(root: Path) -> Tree:
    return amos(root, "image", lambda number: True)


def amos22_ct(root: Path) -> Tree:
    return amos(root, "CT", lambda number: number <= 500)


def amos22_mr(root: Path) -> Tree:
    return amos(root, "MR", lambda number: number > 500)


def totalsegmentator_v2(root: Path, meta: bool = True) -> Tree:
    """Nearly all masks are missing, which means empty; those of two classes overlap; the split is in meta.csv."""
    tree = Tree(root, ["CT"], recipe_of("totalsegmentator_v2")["params"]["masks"][0]["classes"])
    for name, shown in [("s0000", ["spleen", "costal_cartilages"]), ("s0001", ["lung_lower_lobe_right"]), ("s0010", ["spleen"])]:
        image = tree.volume(f"{name}/ct.nii.gz")
        masks = painted_over({label: tree.drawing(f"{name}/segmentations/{label}.nii.gz") for label in shown})
        (tree.tests if meta and name == "s0010" else tree.cases)[name] = Expected(name, masks, image)
    if meta:
        tree.path("meta.csv").write_text("image_id;age;split\ns0000;60;train\ns0001;70;val\ns0010;50;test\n")
    return tree.litter()


def totalsegmentator_v2_without_split(root: Path) -> Tree:
    tree = totalsegmentator_v2(root, meta=False)
    tree.lonely = ("meta.csv",)
    return tree


def promise12(root: Path, folders: tuple[str, str, str] = ("training_data", "training_data", "test_data")) -> Tree:
    """Test cases have the numbers of training cases, and no masks."""
    tree = Tree(root, ["T2"], ["prostate"])
    affine = np.diag([0.6, 0.6, 3.6, 1.0])
    for folder, name in zip(folders, ("Case00", "Case49", "Case00"), strict=True):
        image = tree.volume(f"{folder}/{name}.mhd", affine=affine)
        test = folder.lower().startswith("test")
        masks = None if test else {"prostate": tree.drawing(f"{folder}/{name}_segmentation.mhd", affine)}
        (tree.tests if test else tree.cases)[f"{folder}_{name}"] = Expected(f"{folder}_{name}", masks, image)
    return tree.litter()


def promise12_old(root: Path) -> Tree:
    return promise12(root, ("TrainingData_Part1", "TrainingData_Part3", "TestData"))


ORGANS = {"liver": [55, 63, 70], "right_kidney": [110, 126, 135], "left_kidney": [175, 189, 200], "spleen": [240, 252, 255]}


def chaos_ct(root: Path, above: str = "Train_Sets/") -> Tree:
    """Slices are named from the head down, against their positions; each is a series of its own."""
    tree = Tree(root, ["CT"], ["liver"])
    files, masks = [f"i{index:04d},0000b.dcm" for index in range(VOLUME[2])], [f"liver_GT_{index:03d}.png" for index in range(VOLUME[2])]
    for name in ("1", "10"):
        image = tree.dicom(f"{above}CT/{name}/DICOM_anon", files, one_series=False)
        tree.cases[name] = Expected(name, tree.slices(f"{above}CT/{name}/Ground", masks, {"liver": [255]}, background=(0, 90)), image)
    if above:
        tree.tests["3"] = Expected("3", None, tree.dicom("Test_Sets/CT/3/DICOM_anon", files))
    return tree.litter()


def chaos_ct_inner(root: Path) -> Tree:
    return chaos_ct(root, "")


def chaos_mr(root: Path, channel: str, sequence: str, phase: str) -> Tree:
    """Organs are ranges of grey; the masks of T1 belong to both phases, whose file numbers alternate."""
    tree = Tree(root, [channel], list(ORGANS))
    numbers = [f"IMG-0004-{2 * index + 2:05d}" for index in range(VOLUME[2])]
    for split, name in [("Train_Sets", "1"), ("Train_Sets", "13"), ("Test_Sets", "4")]:
        folder = f"{split}/MR/{name}/{sequence}"
        image = tree.dicom(f"{folder}/DICOM_anon{phase}", [f"{number}.dcm" for number in numbers])
        if phase:
            tree.dicom(f"{folder}/DICOM_anon/OutPhase", [f"IMG-0004-{2 * index + 1:05d}.dcm" for index in range(VOLUME[2])])
        masks = None if split == "Test_Sets" else tree.slices(f"{folder}/Ground", [f"{number}.png" for number in numbers], ORGANS)
        (tree.cases if masks else tree.tests)[name] = Expected(name, masks, image)
    return tree.litter()


def chaos_mr_t1in(root: Path) -> Tree:
    return chaos_mr(root, "T1in", "T1DUAL", "/InPhase")


def chaos_mr_t2(root: Path) -> Tree:
    return chaos_mr(root, "T2", "T2SPIR", "")


def acdc(root: Path, above: str = "") -> Tree:
    """Two frames of a patient, the film beside."""
    values = numbered(["right_ventricle", "myocardium", "left_ventricle"])
    tree = Tree(root, ["MR"], list(values))
    for split, patient in [("training", "patient001"), ("training", "patient002"), ("testing", "patient101")]:
        folder = f"{above}{split}/{patient}"
        tree.junk(f"{folder}/Info.cfg", f"{folder}/MANDATORY_CITATION.md")
        save_volume(tree.path(f"{folder}/{patient}_4d.nii.gz"), np.zeros((*VOLUME, 2), np.int16), AFFINE)
        for frame in ("01", "12"):
            name = f"{patient}_frame{frame}"
            image = tree.volume(f"{folder}/{name}.nii.gz")
            masks = tree.labels(f"{folder}/{name}_gt.nii.gz", values)
            (tree.cases if split == "training" else tree.tests)[name] = Expected(patient, masks, image)
    return tree.litter()


def acdc_outer(root: Path) -> Tree:
    return acdc(root, "database/")


def pddca(root: Path, above: str = "PDDCA-1.4.1_part1/") -> Tree:
    """Structures that were not drawn: what would be background in such a case is ignored."""
    tree = Tree(root, ["CT"], list(PDDCA))
    for name, absent in [
        ("0522c0001", []),
        ("0522c0328", ["OpticNerve_L", "Submandibular_R"]),
        ("0522c0555", []),
        ("0522c0878", ["Chiasm"]),
    ]:
        folder = f"{above}{name}"
        affine = np.diag([1.0, 1.0, 2.5, 1.0])
        image = tree.volume(f"{folder}/img.nrrd", affine=affine)
        tree.junk(f"{folder}/{name}_mandible.fcsv")
        masks = {}
        for label, file in PDDCA.items():
            if file not in absent:
                masks[label] = tree.drawing(f"{folder}/structures/{file}.nrrd", affine)
        masks = painted_over(masks)
        ignored = ~np.any(list(masks.values()), axis=0) if absent else None
        (tree.cases if name < "0522c0500" else tree.tests)[name] = Expected(name, masks, image, ignored)
    return tree.litter()


def pddca_flat(root: Path) -> Tree:
    return pddca(root, "")


ORGAN_TREES = {
    **{
        f"decathlon_{name}": [partial(decathlon, **dict(zip(("name", "cases", "modalities", "labels"), task, strict=True)))]
        for name, task in TASKS.items()
    },
    "btcv": [btcv, btcv_outer],
    "amos22": [amos22],
    "amos22_ct": [amos22_ct],
    "amos22_mr": [amos22_mr],
    "totalsegmentator_v2": [totalsegmentator_v2, totalsegmentator_v2_without_split],
    "promise12": [promise12, promise12_old],
    "chaos_ct": [chaos_ct, chaos_ct_inner],
    "chaos_mr_t1in": [chaos_mr_t1in],
    "chaos_mr_t2": [chaos_mr_t2],
    "acdc": [acdc, acdc_outer],
    "pddca": [pddca, pddca_flat],
}
