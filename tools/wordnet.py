"""Gets WordNet's nouns, from which MaMMUT learns words beside its names: `python tools/wordnet.py FOLDER`.

They are in Debian's package `wordnet-base`, which apt-get downloads and dpkg-deb unpacks; nothing is
installed.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "wordnet-base"
FILES = (
    "usr/share/wordnet/data.noun",
    "usr/share/wordnet/index.noun",
    "usr/share/doc/wordnet-base/copyright",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=scratch, check=True)
        (archive,) = Path(scratch).glob(f"{PACKAGE}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, scratch], check=True)
        for file in FILES:
            shutil.copy(Path(scratch) / file, folder)
    print(f"WordNet's nouns are in {folder}")


if __name__ == "__main__":
    main()
