"""Upload of an exported folder to the hub: only on request, encrypted, with the environment's token, to a private repo.

The hub's own client uploads it. It uses the environment's proxies, as for every download: a proxy forwards only
encrypted bytes to an https address.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from chatladder.io.console import DataError, stoppable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN_VARIABLE = "HF_TOKEN"
#: The folder of alpaca rows inside an export, which is never uploaded.
DATASET = "dataset"


def token() -> str:
    """Return the token of the environment.

    Raises:
        DataError: If there is none, or it would be sent unencrypted. One that an earlier login stored is not used.
    """
    from huggingface_hub import constants

    secret = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not secret:
        raise DataError(
            f"{TOKEN_VARIABLE}: expected a token that may write to the hub in this environment variable, got none; "
            "nothing was exported. Make one at https://huggingface.co/settings/tokens."
        )
    if not constants.ENDPOINT.startswith("https://"):
        raise DataError(
            "HF_ENDPOINT: expected an address that begins with https://, since the token and what is exported would "
            "travel unencrypted; nothing was exported."
        )
    return secret


def push(folder: Path, repo: str, secret: str) -> None:
    """Upload a model, without any dataset in its folder, to a private repository.

    Raises:
        DataError: If the hub cannot be reached or refuses; the folder is unchanged.
    """
    from httpx2 import HTTPError

    again = f'hf upload {repo} {folder} --repo-type model --private --exclude "{DATASET}/*"'
    try:
        with stoppable(f"{folder} is whole and stays as it is. To upload it: {again}"):
            api = _api(secret)
            api.create_repo(repo, repo_type="model", private=True, exist_ok=True)
            api.upload_folder(
                repo_id=repo,
                repo_type="model",
                folder_path=folder,
                ignore_patterns=[f"{DATASET}/*"],
                commit_message="chatladder export",
            )
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        reason = " ".join(str(error).replace(secret, "***").split())[:300]
        raise DataError(
            f"{repo}: expected the hub to take the model, got: {reason or type(error).__name__}. {folder} stays as it "
            f"is; once the hub can be reached: {again}"
        ) from error


def _api(secret: str) -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(token=secret)
