"""Creates a Space or updates it: each step looks at what is there, and does only what is missing."""

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, SpaceStage
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import HFValidationError, validate_repo_id

from palm_demo.errors import SpaceError
from palm_demo.internals.hub_client import HttpError
from palm_demo.settings import Settings
from palm_demo.space.checkout import Checkout
from palm_demo.space.lock import LOCK, REQUIREMENTS, resolved
from palm_demo.space.machines import FIXED_SLEEP, FREE, chosen_on, emulated_on

Say = Callable[[str], None]

REMEDIES_OF_STATUSES = {
    401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    402: "it asks for payment: choose other hardware, or add credits to the account",
    403: "use a token of the owner's that may write",
    404: "look at the owner and the name, and whether the token may see them",
    429: "these were too many requests; try again in a few minutes",
}

UNDER_WAY = (
    SpaceStage.BUILDING,
    SpaceStage.RUNNING_BUILDING,
    SpaceStage.APP_STARTING,
    SpaceStage.RUNNING_APP_STARTING,
)
ASLEEP = "SLEEPING"  # the Hub says it, its client does not list it
REMEDIES_OF_STAGES = {
    SpaceStage.NO_APP_FILE: "look at runtime.app_file and files.allow in the Spacefile",
    SpaceStage.CONFIG_ERROR: "look at the Spacefile, and render it",
    SpaceStage.BUILD_ERROR: "mend what the log tells and deploy again",
    SpaceStage.RUNTIME_ERROR: "mend what the log tells and deploy again",
    SpaceStage.PAUSED: "restart it on its page",
    SpaceStage.STOPPED: "restart it on its page",
    SpaceStage.DELETING: "deploy again when it is gone",
}
POLL_SECONDS = 3.0
SETTLE_SECONDS = 30.0
"""How long after an upload the Hub may still report the Space's previous state."""
TAIL_LINES = 40


@dataclass(frozen=True)
class Plan:
    """All of a deployment that is known before the first request.

    Attributes:
        repo: OWNER/NAME, or NAME if the token's owner owns it.
        renew_secrets: also set secrets that the Space has already, whose values nobody can read.
    """

    checkout: Checkout
    repo: str
    secrets: Mapping[str, str]
    renew_secrets: bool

    @property
    def settings(self) -> Settings:
        return self.checkout.settings


def make_plan(
    checkout: Checkout,
    repo: str | None = None,
    renew_secrets: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Plan:
    """Plans a deployment to the Spacefile's Space, or to another one.

    Raises SpaceError if the environment lacks a secret, or the name is not valid.
    """
    name = repo or checkout.settings.space.id
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise SpaceError(
            f"{name!r} is not a valid name of a Space; give OWNER/NAME, such as me/palm-demo"
        ) from error
    names = checkout.settings.env.secrets
    missing = [secret for secret in names if not environment.get(secret)]
    if missing:
        raise SpaceError(
            f"the Spacefile names the secret {', '.join(missing)}, which the environment does not have; "
            f"export {' '.join(f'{secret}=…' for secret in missing)} first, or take it out of env.secrets"
        )
    secrets = {secret: environment[secret] for secret in names}
    return Plan(checkout, name, secrets, renew_secrets)


def describe(plan: Plan) -> Iterator[str]:
    """Yields lines that say what `deploy` would do, without the values of secrets."""
    settings, names = plan.settings, plan.checkout.allowed
    owner = "" if "/" in plan.repo else "OWNER/"
    yield f"Space {owner}{plan.repo}: gradio {settings.runtime.sdk_version}, python {settings.runtime.python}"
    yield f"hardware {settings.hardware.request}, {_sleep(settings.hardware.sleep_seconds)}"
    if (chosen := chosen_on(plan.checkout)) is not None:
        yield f"weights there: {chosen.summary}"
        yield f"they are downloaded there: {chosen.downloads_gb:.1f} GB"
        if slow := emulated_on(plan.checkout, chosen):
            machine = settings.hardware.request
            yield f"slow there: {', '.join(slow)}, in bfloat16, which {machine} emulates; l4x1 computes in it"
    yield from (f"variable {name}={value}" for name, value in settings.env.variables.items())
    yield from (f"secret {name}, from the environment" for name in plan.secrets)
    counts, sizes = Counter(), Counter()
    for name in names:
        folder = name.partition("/")[0] + "/" if "/" in name else name
        counts[folder] += 1
        sizes[folder] += plan.checkout.bytes_of(name)
    for folder, count in counts.items():
        yield f"upload {folder}: {f'{count} files, ' if count > 1 else ''}{sizes[folder] / 1e6:.2f} MB"
    yield f"in all {len(names)} files, {sum(sizes.values()) / 1e6:.1f} MB"
    versions = [line for line in resolved(plan.checkout).splitlines() if not line.startswith("#")]
    yield f"{REQUIREMENTS} there: {len(versions)} versions of {LOCK}, and {_torch(versions)}"
    yield from _warnings(plan)


def deploy(plan: Plan, say: Say, patience_seconds: float) -> str:
    """Creates or updates the Space, waits until it runs, and returns its address.

    say: gets a line for each thing that is done. patience_seconds: for the build and the start. Raises
    SpaceError when the Hub refuses, or the Space does not run.
    """
    api = HfApi()
    with explained(plan.repo):
        owner = "" if "/" in plan.repo else api.whoami()["name"] + "/"
    repo = f"{owner}{plan.repo}"
    address = f"{api.endpoint}/spaces/{repo}"
    with explained(repo):
        api.create_repo(
            repo,
            repo_type="space",
            space_sdk=plan.settings.runtime.sdk,
            space_hardware=plan.settings.hardware.request,
            exist_ok=True,
        )
        say(f"Space {address}")
        _set_variables(api, repo, plan, say)
        _set_secrets(api, repo, plan, say)
        _set_hardware(api, repo, plan, say)
        revision = _upload(api, repo, plan, say)
        wait_until_it_runs(api, repo, revision, patience_seconds, say)
    return address


def _set_variables(api: HfApi, repo: str, plan: Plan, say: Say) -> None:
    there = {name: variable.value for name, variable in api.get_space_variables(repo).items()}
    wanted = plan.settings.env.variables
    for name, value in wanted.items():
        if there.get(name) != value:
            api.add_space_variable(repo, name, value)
            say(f"variable {name}={value}")
    for name in sorted(there.keys() - wanted.keys()):
        say(f"variable {name} is the Space's own and stays as it is")


def _set_secrets(api: HfApi, repo: str, plan: Plan, say: Say) -> None:
    if not plan.secrets:
        return
    there = api.get_space_secrets(repo)
    for name, value in plan.secrets.items():
        if plan.renew_secrets or name not in there:
            api.add_space_secret(repo, name, value)
            say(f"secret {name}")


def _set_hardware(api: HfApi, repo: str, plan: Plan, say: Say) -> None:
    wanted, runtime = plan.settings.hardware, api.get_space_runtime(repo)
    seconds = None if wanted.request in FIXED_SLEEP else wanted.sleep_seconds
    if (runtime.requested_hardware or runtime.hardware or FREE) != wanted.request:
        api.request_space_hardware(repo, wanted.request, sleep_time=seconds)
        say(f"hardware {wanted.request}, {_sleep(wanted.sleep_seconds)}")
    elif seconds is not None and (runtime.sleep_time or -1) != seconds:
        api.set_space_sleep_time(repo, seconds)
        say(_sleep(seconds))


def _upload(api: HfApi, repo: str, plan: Plan, say: Say) -> str:
    """Uploads the files and returns the Space's latest commit.

    Files that are the same already are not sent, and no commit is empty.
    """
    before = api.space_info(repo).sha
    with TemporaryDirectory(prefix="palm-demo-space-") as folder:
        for name in plan.checkout.allowed:
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(plan.checkout.root / name, copy)
        Path(folder, REQUIREMENTS).write_text(resolved(plan.checkout), encoding="utf-8")
        try:
            commit = api.upload_folder(
                repo_id=repo,
                repo_type="space",
                folder_path=folder,
                allow_patterns=list(plan.settings.files.allow),
                delete_patterns=list(plan.settings.files.allow),  # what is no longer here
                commit_message="Deployed with palm_demo.space",
            )
        except HfHubHTTPError:
            raise  # some of them are ValueErrors too
        except (ValueError, RuntimeError) as error:  # about the front matter, about a large file
            raise SpaceError(
                f"the files were not taken: {error}; deploy again when that is mended, what was sent is not "
                "sent twice"
            ) from error
    say("files are as they were" if commit.oid == before else f"files, in commit {commit.oid[:7]}")
    for line in _warnings(plan):
        say(line)
    return commit.oid


def wait_until_it_runs(api: HfApi, repo: str, revision: str, patience_seconds: float, say: Say) -> None:
    """Waits until the Space runs this commit, or sleeps until somebody visits it.

    patience_seconds: how long building and starting may take. say: gets every change of stage. Raises
    SpaceError with the end of the log when it ends otherwise, or does not run in time.
    """
    begun, shown, moved = time.monotonic(), None, False
    while True:
        runtime = api.get_space_runtime(repo)
        stage, seconds = runtime.stage, time.monotonic() - begun
        if stage != shown:
            say(f"{stage} after {seconds:.0f} seconds")
            shown = stage
        moved = moved or stage in UNDER_WAY
        # While the new build has not begun yet, the Hub still tells of the one before.
        news, running = moved or seconds >= SETTLE_SECONDS, runtime.raw.get("sha")
        if stage in (SpaceStage.RUNNING, ASLEEP) and (running == revision if running else news):
            return
        if stage in REMEDIES_OF_STAGES and news:
            raise SpaceError(_ended(api, repo, stage, runtime.raw.get("errorMessage")))
        if seconds >= patience_seconds:
            raise SpaceError(
                f"{repo} is {stage} after {seconds / 60:.0f} minutes; look at its page, or go on waiting by "
                "deploying again"
            )
        time.sleep(POLL_SECONDS)


def _ended(api: HfApi, repo: str, stage: str, message: str | None) -> str:
    detail = f": {message}" if message else ""
    head = f"{repo} ended in {stage}{detail}; {REMEDIES_OF_STAGES[stage]}"
    if stage in (SpaceStage.BUILD_ERROR, SpaceStage.RUNTIME_ERROR):
        return f"{head}\n{_log_tail(api, repo, build=stage == SpaceStage.BUILD_ERROR)}"
    return head


def _log_tail(api: HfApi, repo: str, build: bool) -> str:
    try:
        lines = [line.rstrip("\n") for line in api.fetch_space_logs(repo, build=build)]
    except HfHubHTTPError as error:
        return f"(its log cannot be read: the Hub answered {error.response.status_code})"
    return "\n".join(lines[-TAIL_LINES:]) or "(its log is empty)"


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turns errors of the Hub into a SpaceError, which never contains a token."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise SpaceError(f"there is no token for the Hub; {REMEDIES_OF_STATUSES[401]}") from error
    except OfflineModeIsEnabled as error:
        raise SpaceError("HF_HUB_OFFLINE keeps the Hub's client offline; unset it to deploy") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        detail = f": {error.server_message}" if error.server_message else ""
        remedy = REMEDIES_OF_STATUSES.get(status, "try again; what was done is not done twice")
        raise SpaceError(f"the Hub answered {status} about {repo}{detail}; {remedy}") from error
    except HttpError as error:
        raise SpaceError(
            f"the Hub does not answer ({type(error).__name__}); try again, what was done is not done twice"
        ) from error


def _warnings(plan: Plan) -> Iterator[str]:
    yield from (f"left out: {name}, of which git knows nothing" for name in plan.checkout.left_out)


def _torch(versions: list[str]) -> str:
    return next((line for line in versions if re.match(r"torch\b", line)), "no torch")


def _sleep(seconds: int) -> str:
    return "never asleep" if seconds == -1 else f"asleep after {seconds / 3600:g} hours"
