"""What hatchling cannot be told in pyproject.toml: requirements.txt lists the dependencies, and the wheel has
`assets/` and the Spacefile inside the package, under `palm_demo/data/`."""

import re
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class Dependencies(MetadataHookInterface):
    """Those of requirements.txt, which a Space installs too."""

    def update(self, metadata: dict) -> None:
        lines = Path(self.root, "requirements.txt").read_text(encoding="utf-8").splitlines()
        requirements = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
        metadata["dependencies"] = [requirement for requirement in requirements if requirement]


class PackageData(BuildHookInterface):
    """For the wheel; an editable installation finds them in the checkout."""

    def initialize(self, version: str, build_data: dict) -> None:
        if version == "editable":
            return
        for source in ("Spacefile", "assets"):
            build_data["force_include"][source] = f"palm_demo/data/{source}"
