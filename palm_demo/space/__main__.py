"""`python -m palm_demo.space {render,check,deploy}`: the Space of the Spacefile."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from palm_demo.errors import PalmDemoError, SpaceError
from palm_demo.installation import INSTALLED, ROOT
from palm_demo.space.card import render
from palm_demo.space.checking import check
from palm_demo.space.checkout import Checkout
from palm_demo.space.deploying import deploy, described, make_plan

BUILD_SECONDS = 1800
"""What the Hub may take to build, beside the time that the app may take to start."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m palm_demo.space", description="The Space of the Spacefile."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("render", help="write the README's front matter").set_defaults(run=_render)
    verbs.add_parser("check", help="find what is wrong, offline").set_defaults(run=_check)
    to_hub = verbs.add_parser("deploy", help="make the Space or bring it up to date, and wait until it runs")
    to_hub.set_defaults(run=_deploy)
    to_hub.add_argument("--dry-run", action="store_true", help="say what would be done, without any request")
    to_hub.add_argument("--repo", metavar="OWNER/NAME", help="instead of the Spacefile's id")
    to_hub.add_argument("--renew-secrets", action="store_true", help="set also the secrets that it has")
    return parser


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Runs one command; 1 when something is wrong, which is told on stderr without a traceback."""
    given = make_parser().parse_args(arguments)
    try:
        if INSTALLED:
            raise SpaceError(
                f"a Space is made of a clone of the repository, and {root} is what pip installed; "
                "go into a clone and give the command there"
            )
        return given.run(given, Checkout(root))
    except PalmDemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what the Hub has begun goes on, and deploy can be run again", file=sys.stderr)
        return 130


def _render(given: argparse.Namespace, checkout: Checkout) -> int:
    changed = render(checkout.root / "README.md", checkout.settings)
    print("README.md has new front matter" if changed else "README.md is as the Spacefile says")
    return 0


def _check(given: argparse.Namespace, checkout: Checkout) -> int:
    findings = check(checkout.root)
    for finding in findings:
        print(finding)
    print(f"{len(findings)} to mend" if findings else "nothing to mend")
    return 1 if findings else 0


def _deploy(given: argparse.Namespace, checkout: Checkout) -> int:
    if _check(given, checkout):
        return 1
    plan = make_plan(checkout, given.repo, given.renew_secrets)
    if given.dry_run:
        for line in described(plan):
            print(line)
        return 0
    patience_seconds = BUILD_SECONDS + plan.settings.runtime.startup_seconds
    address = deploy(plan, lambda line: print(line, flush=True), patience_seconds)
    print(f"it runs: {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
