"""Finds out how to sign in at kaggle.com, from where the kaggle command looks, in its order."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from kitbox.errors import KitboxError
from kitbox.files import read_json

TOKENS = "https://www.kaggle.com/settings/api"
_NONE = (
    f"no Kaggle credentials: make a token at {TOKENS} and put it in the environment variable "
    "KAGGLE_API_TOKEN or in the file ~/.kaggle/access_token; an older ~/.kaggle/kaggle.json "
    "will do too"
)


def find(patience: float) -> dict[str, str]:
    """Return what a client signs in with; raises KitboxError that says where a token goes."""
    from kagglesdk import KaggleClient, KaggleCredentials, get_access_token_from_env

    token, _ = get_access_token_from_env()
    if token:
        return {"api_token": token}
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if not (user and key):
        user, key = _legacy()
    if user and key:
        return {"username": user, "password": key}
    with KaggleClient() as client:  # after 'kaggle auth login'
        limit(client, patience)
        login = KaggleCredentials.load(client)
        token = login.get_access_token() if login else None
    if not token:
        raise KitboxError(_NONE)
    return {"api_token": token}


def limit(client: Any, patience: float) -> None:
    """Give the calls of an opened client a time limit in seconds; by itself it has none."""
    session = getattr(client.http_client(), "_session", None)
    if session is not None:
        session.send = partial(session.send, timeout=patience)


def _legacy() -> tuple[str | None, str | None]:
    """Return user and key of kaggle.json."""
    given, settings = os.environ.get("KAGGLE_CONFIG_DIR"), os.environ.get("XDG_CONFIG_HOME")
    folders = [Path(given)] if given else [Path.home() / ".kaggle"]
    if not given:
        folders.append((Path(settings) if settings else Path.home() / ".config") / "kaggle")
    file = next((f / "kaggle.json" for f in folders if (f / "kaggle.json").is_file()), None)
    if file is None:
        return None, None
    found = read_json(file)
    if not (isinstance(found, dict) and found.get("username") and found.get("key")):
        raise KitboxError(f"{file} has no username and key; make a new one at {TOKENS}")
    return str(found["username"]), str(found["key"])
