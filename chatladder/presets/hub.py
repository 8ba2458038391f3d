"""What the hub says of a model: its current commit, and its size."""

from typing import TYPE_CHECKING

from chatladder.io.console import DataError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

#: Seconds until a hub that says nothing counts as out of reach.
TIMEOUT = 10.0


def model_info(repo: str, revision: str | None = None) -> "ModelInfo":
    """What the hub knows of a model, at a commit or at its newest.

    Raises:
        DataError: If the hub does not answer, or has no such model or commit for us.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    where = f"{repo}@{revision}" if revision else repo
    try:
        return HfApi().model_info(repo, revision=revision, timeout=TIMEOUT)
    except OfflineModeIsEnabled as error:
        raise DataError(f"{where}: HF_HUB_OFFLINE is set, so the hub is not asked.") from error
    except GatedRepoError as error:
        raise DataError(f"{where}: its owner wants terms accepted first; do so, then hf auth login.") from error
    except RepositoryNotFoundError as error:
        raise DataError(f"{where}: the hub has no such model, or none that you may see.") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{where}: the hub does not answer as expected: {reason}") from error


def current_commit(repo: str) -> str:
    """The newest commit of a model, 40 hexadecimal digits.

    Raises:
        DataError: As ``model_info``, or if what comes is no commit.
    """
    from chatladder.presets import COMMIT

    commit = model_info(repo).sha
    if not commit or not COMMIT.fullmatch(commit):
        raise DataError(f"{repo}: expected the hub to name a commit of 40 hexadecimal digits, got {commit!a}.")
    return commit
