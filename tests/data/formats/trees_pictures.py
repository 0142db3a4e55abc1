"""Tiny copies of the public 2-D data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.formats.trees import Expected, Tree, painted_over

RGB = ("red", "green", "blue")


def busi(root: Path) -> Tree:
    """Two lesions of one image in two files, names with blanks and brackets, grey and coloured pictures."""
    tree = Tree(root, ["ultrasound"], ["benign", "malignant"])
    for name, mode, forms in [("benign (1)", "RGB", ["255", "255"]), ("benign (10)", "L", ["colour"]), ("malignant (1)", "L", ["bit"])]:
        kind = name.split()[0]
        image = tree.grey(f"{kind}/{name}.png", mode)
        masks = [tree.mask(f"{kind}/{name}_mask{f'_{i}' if i else ''}.png", form) for i, form in enumerate(forms)]
        tree.cases[name] = Expected(name, {kind: np.any(masks, axis=0)}, image)
    image = tree.grey("normal/normal (1).png")
    tree.mask("normal/normal (1)_mask.png", "empty")
    tree.cases["normal (1)"] = Expected("normal (1)", {}, image)
    return tree.litter()


def bus_b(root: Path) -> Tree:
    tree = Tree(root, ["ultrasound"], ["lesion"])
    tree.junk("DatasetB.xlsx")
    for name in ("000001", "000002"):
        image = tree.grey(f"original/{name}.png")
        tree.cases[name] = Expected(name, {"lesion": tree.mask(f"GT/{name}.png")}, image)
    return tree.litter()


def bus_bra(root: Path) -> Tree:
    """Two views of one patient, and masks of both 0/1 and 0/255."""
    tree = Tree(root, ["ultrasound"], ["lesion"])
    tree.junk("bus_data.csv", "5-fold-cv.csv")
    for name, form in [("0001-l", "255"), ("0001-r", "1"), ("0002-s", "bit")]:
        image = tree.grey(f"Images/bus_{name}.png")
        tree.cases[f"bus_{name}"] = Expected(name[:4], {"lesion": tree.mask(f"Masks/mask_{name}.png", form)}, image)
    return tree.litter()


def isic2018(root: Path) -> Tree:
    """JPEG images, text files among them, test images without masks."""
    tree = Tree(root, RGB, ["lesion"])
    for number, split in enumerate(["Training", "Training", "Validation", "Test"]):
        name, folder = f"ISIC_{number:07d}", f"ISIC2018_Task1-2_{split}_Input"
        tree.junk(f"{folder}/ATTRIBUTION.txt", f"{folder}/LICENSE.txt")
        tree.picture(f"{folder}/{name}.jpg")
        masks = None if split == "Test" else {"lesion": tree.mask(f"ISIC2018_Task1_{split}_GroundTruth/{name}_segmentation.png", "soft")}
        (tree.cases if split == "Training" else tree.tests)[name] = Expected(name, masks)
    return tree.litter()


def idrid(root: Path, above: str = "A. Segmentation/") -> Tree:
    """Palette TIFFs with the values 0 and 1, one per lesion type; a type that an image does not show has no file."""
    kinds = {
        "optic_disc": ("5. Optic Disc", "OD"),
        "soft_exudate": ("4. Soft Exudates", "SE"),
        "hard_exudate": ("3. Hard Exudates", "EX"),
        "haemorrhage": ("2. Haemorrhages", "HE"),
        "microaneurysm": ("1. Microaneurysms", "MA"),
    }
    tree = Tree(root, RGB, list(kinds))
    tree.junk(f"{above}CC-BY-4.0.txt")
    for name, split, shown in [
        ("IDRiD_01", "a. Training Set", list(kinds)),
        ("IDRiD_02", "a. Training Set", ["soft_exudate", "haemorrhage"]),
        ("IDRiD_55", "b. Testing Set", ["hard_exudate", "microaneurysm"]),
    ]:
        tree.picture(f"{above}1. Original Images/{split}/{name}.jpg")
        folder = f"{above}2. All Segmentation Groundtruths/{split}"
        drawn = {kind: tree.mask(f"{folder}/{kinds[kind][0]}/{name}_{kinds[kind][1]}.tif", "palette") for kind in shown}
        (tree.tests if split.startswith("b") else tree.cases)[name] = Expected(name, painted_over(drawn))
    return tree.litter()


def idrid_inner(root: Path) -> Tree:
    """The same from the inner folder."""
    return idrid(root, "")


def e_ophtha(root: Path, kind: str, name: str, ending: str, above: str) -> Tree:
    """Suffixes of both cases, healthy images without masks, two images of one patient."""
    tree = Tree(root, RGB, [name])
    for patient, image in [("E0000043", "C0001273.jpg"), ("E0000043", "C0001274.JPG"), ("E0000404", "DS000DGS.png")]:
        stem = image.split(".")[0]
        read = tree.picture(f"{above}{kind}/{patient}/{image}")
        mask = tree.mask(f"{above}Annotation_{kind}/{patient}/{stem}{ending}.png")
        tree.cases[f"{patient}_{stem}"] = Expected(patient, {name: mask}, read)
    tree.junk(f"{above}{kind}/E0000043/Thumbs.db")
    image = tree.picture(f"{above}healthy/E0000999/C0009999.jpg")
    tree.cases["E0000999_C0009999"] = Expected("E0000999", {}, image)
    return tree.litter()


def e_ophtha_ma(root: Path) -> Tree:
    return e_ophtha(root, "MA", "microaneurysm", "", "")


def e_ophtha_ma_outer(root: Path) -> Tree:
    return e_ophtha(root, "MA", "microaneurysm", "", "e_optha_MA/")


def e_ophtha_ex(root: Path) -> Tree:
    return e_ophtha(root, "EX", "exudate", "_EX", "")


def drive(root: Path) -> Tree:
    """GIF masks; one test image with the masks of an older download, one without."""
    tree = Tree(root, RGB, ["vessel"])
    for name, split in [("21", "training"), ("22", "training"), ("01", "test"), ("02", "test")]:
        image = tree.picture(f"{split}/images/{name}_{split}.tif")
        tree.mask(f"{split}/mask/{name}_{split}_mask.gif")
        masks = None if name == "01" else {"vessel": tree.mask(f"{split}/1st_manual/{name}_manual1.gif", "soft")}
        if name == "02":
            tree.mask("test/2nd_manual/02_manual2.gif")
        (tree.tests if split == "test" else tree.cases)[name] = Expected(name, masks, image)
    return tree.litter()


def chase_db1(root: Path) -> Tree:
    """1-bit masks of two observers, two eyes of a child."""
    tree = Tree(root, RGB, ["vessel"])
    for name in ("01L", "01R", "02L", "11L"):
        tree.picture(f"Image_{name}.jpg")
        mask = tree.mask(f"Image_{name}_1stHO.png", "bit")
        tree.mask(f"Image_{name}_2ndHO.png", "bit")
        (tree.tests if name == "11L" else tree.cases)[f"Image_{name}"] = Expected(name[:2], {"vessel": mask})
    return tree.litter()


def cvc_clinicdb(root: Path, suffix: str = "tif") -> Tree:
    """Frames at both sides of the borders of sequences."""
    tree = Tree(root, RGB, ["polyp"])
    for frame, group in [(1, "frame 1-25"), (25, "frame 1-25"), (26, "frame 26-50"), (205, "frame 200-205"), (612, "frame 592-612")]:
        image = tree.picture(f"Original/{frame}.{suffix}")
        tree.cases[str(frame)] = Expected(group, {"polyp": tree.mask(f"Ground Truth/{frame}.{suffix}", "soft")}, image)
    return tree.litter()


def cvc_clinicdb_png(root: Path) -> Tree:
    return cvc_clinicdb(root, "png")


def kvasir_seg(root: Path) -> Tree:
    """JPEG masks, whose values are anything from 0 to 255."""
    tree = Tree(root, RGB, ["polyp"])
    tree.junk("kavsir_bboxes.json")
    for name in ("cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4"):
        tree.picture(f"images/{name}.jpg")
        tree.cases[name] = Expected(name, {"polyp": tree.mask(f"masks/{name}.jpg")})
    return tree.litter()


def dsb2018(root: Path, split: str = "stage1_train/") -> Tree:
    """RGBA images, one mask per nucleus, test images without masks."""
    tree = Tree(root, RGB, ["nucleus"])
    for name, mode in [("00ae65c1", "RGBA"), ("0a7d30b2", "RGB")]:
        image = tree.picture(f"{split}{name}/images/{name}.png", mode)
        masks = [tree.mask(f"{split}{name}/masks/{nucleus}.png", "soft") for nucleus in ("07a9", "1b3c")]
        tree.cases[name] = Expected(name, {"nucleus": np.any(masks, axis=0)}, image)
    if split:
        image = tree.picture("stage1_test/0f1f/images/0f1f.png", "RGBA")
        tree.tests["0f1f"] = Expected("0f1f", None, image)
    return tree.litter()


def dsb2018_inner(root: Path) -> Tree:
    return dsb2018(root, "")


PICTURE_TREES = {
    "busi": [busi],
    "bus_b": [bus_b],
    "bus_bra": [bus_bra],
    "isic2018": [isic2018],
    "idrid": [idrid, idrid_inner],
    "e_ophtha_ma": [e_ophtha_ma, e_ophtha_ma_outer],
    "e_ophtha_ex": [e_ophtha_ex],
    "drive": [drive],
    "chase_db1": [chase_db1],
    "cvc_clinicdb": [cvc_clinicdb, cvc_clinicdb_png],
    "kvasir_seg": [kvasir_seg],
    "dsb2018": [dsb2018, dsb2018_inner],
}
