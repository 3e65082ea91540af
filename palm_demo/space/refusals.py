"""What the Hub's refusals mean, and what to do about each."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from palm_demo.errors import SpaceError
from palm_demo.internals.hub_client import HttpError

REMEDIES = {
    401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    402: "it asks for payment: choose other hardware, or add credits to the account",
    403: "use a token of the owner's that may write",
    404: "look at the owner and the name, and whether the token may see them",
    429: "these were too many requests; try again in a few minutes",
}


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turns what goes wrong between us and the Hub into a SpaceError, which names no token."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise SpaceError(f"there is no token for the Hub; {REMEDIES[401]}") from error
    except OfflineModeIsEnabled as error:
        raise SpaceError("HF_HUB_OFFLINE keeps the Hub's client offline; unset it to deploy") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = f": {error.server_message}" if error.server_message else ""
        remedy = REMEDIES.get(status, "try again; what was done is not done twice")
        raise SpaceError(f"the Hub answered {status} about {repo}{said}; {remedy}") from error
    except HttpError as error:
        raise SpaceError(
            f"the Hub does not answer ({type(error).__name__}); try again, what was done is not done twice"
        ) from error
