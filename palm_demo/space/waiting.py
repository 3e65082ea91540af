"""From an upload to a running Space: what the Hub says on the way, and how it can end."""

import time
from collections.abc import Callable

from huggingface_hub import HfApi, SpaceStage
from huggingface_hub.errors import HfHubHTTPError

from palm_demo.errors import SpaceError

UNDER_WAY = (
    SpaceStage.BUILDING,
    SpaceStage.RUNNING_BUILDING,
    SpaceStage.APP_STARTING,
    SpaceStage.RUNNING_APP_STARTING,
)
ASLEEP = "SLEEPING"  # the Hub says it, its client does not list it
REMEDIES = {
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
"""How long after an upload the Hub may still tell how the Space was before."""
TAIL_LINES = 40


def wait_until_it_runs(
    api: HfApi, repo: str, revision: str, patience_seconds: float, say: Callable[[str], None]
) -> None:
    """Returns when the Space runs this commit, or sleeps until somebody visits it.

    patience_seconds: how long building and starting may take. say: gets every change of stage. Raises
    SpaceError with the end of the log when it ends otherwise, or is not there in time.
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
        if stage in REMEDIES and news:
            raise SpaceError(_ended(api, repo, stage, runtime.raw.get("errorMessage")))
        if seconds >= patience_seconds:
            raise SpaceError(
                f"{repo} is {stage} after {seconds / 60:.0f} minutes; look at its page, or go on waiting by "
                "deploying again"
            )
        time.sleep(POLL_SECONDS)


def _ended(api: HfApi, repo: str, stage: str, message: str | None) -> str:
    told = f": {message}" if message else ""
    head = f"{repo} ended in {stage}{told}; {REMEDIES[stage]}"
    if stage in (SpaceStage.BUILD_ERROR, SpaceStage.RUNTIME_ERROR):
        return f"{head}\n{_log_tail(api, repo, build=stage == SpaceStage.BUILD_ERROR)}"
    return head


def _log_tail(api: HfApi, repo: str, build: bool) -> str:
    try:
        lines = [line.rstrip("\n") for line in api.fetch_space_logs(repo, build=build)]
    except HfHubHTTPError as error:
        return f"(its log cannot be read: the Hub answered {error.response.status_code})"
    return "\n".join(lines[-TAIL_LINES:]) or "(its log is empty)"
