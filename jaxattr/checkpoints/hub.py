"""Downloading a checkpoint from the hub with its own client, which keeps the cache and the token.

`HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are the client's and mean what they
always mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxattr.checkpoints.adapters import ADAPTER, refuse_adapter_folder
from jaxattr.checkpoints.files import INDEX, PICKLES, shards
from jaxattr.checkpoints.preprocessing import NESTED, PROCESSOR
from jaxattr.errors import CheckpointError

_OPTIONAL = (PROCESSOR, NESTED, "labels.json")


def download(repository: str, revision: str | None = None) -> Path:
    """Bring a checkpoint's config, processor and weights into the cache; returns its snapshot.

    All files are of one commit, that of `config.json`. No pickle is ever downloaded.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such repository, revision or weights.
    """
    config = _fetch(repository, "config.json", revision)
    adapter = _fetch(repository, ADAPTER, config.parent.name if config else revision)
    if adapter is not None:
        refuse_adapter_folder(adapter.parent, _at(repository, revision))
    if config is None:
        raise CheckpointError(
            f"{_at(repository, revision)}: has no config.json on the hub; pass a repository that "
            f"holds an image-classification checkpoint."
        )
    commit = config.parent.name
    for name in _OPTIONAL:
        _fetch(repository, name, commit)
    if _fetch(repository, "model.safetensors", commit) is None:
        index = _fetch(repository, INDEX, commit)
        if index is None:
            raise _no_weights(repository, revision, commit)
        for shard in shards(index):
            if _fetch(repository, shard, commit) is None:
                raise CheckpointError(
                    f"{_at(repository, revision)}: {INDEX} lists {shard}, which is not there; ask "
                    f"its owner to upload it."
                )
    return config.parent


def _fetch(repository: str, name: str, revision: str | None) -> Path | None:
    """One file's path in the cache, or `None` where the repository does not have it."""
    from huggingface_hub import _CACHED_NO_EXIST, constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    optional = name != "config.json"
    if optional and try_to_load_from_cache(repository, name, revision=revision) is _CACHED_NO_EXIST:
        return None
    with _explained(repository, revision):
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError:
            if constants.HF_HUB_OFFLINE and optional:
                return None
            raise
        except EntryNotFoundError:
            return None


def _no_weights(repository: str, revision: str | None, commit: str) -> CheckpointError:
    from huggingface_hub import HfApi, constants

    where = _at(repository, revision)
    if constants.HF_HUB_OFFLINE:
        return CheckpointError(
            f"{where}: its weights are not in the cache and HF_HUB_OFFLINE is set; unset it once "
            f"to download them."
        )
    with _explained(repository, revision):
        files = [
            sibling.rfilename
            for sibling in HfApi().model_info(repository, revision=commit).siblings or []
        ]
    pickle = next((name for name in files if name.endswith(PICKLES)), None)
    if pickle is not None:
        return CheckpointError(
            f"{where}: has no .safetensors weights, only {pickle}, a pickle, which can run code "
            f"and is refused; convert it to model.safetensors, or pick a revision that has one."
        )
    return CheckpointError(
        f"{where}: has no model.safetensors on the hub; pass a repository that has one."
    )


@contextmanager
def _explained(repository: str, revision: str | None) -> Iterator[None]:
    """Turn the client's errors into one line each."""
    from huggingface_hub import constants, errors

    where, endpoint = _at(repository, revision), constants.ENDPOINT
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{where}: is gated; accept its terms on {endpoint}/{repository} and set HF_TOKEN to "
            f"your access token."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{where}: not found on {endpoint}; check the spelling (owner/name), or set HF_TOKEN "
            f"if it is private."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{repository}: has no revision {revision} on {endpoint}; use a branch, tag or full "
            f"commit hash that exists."
        ) from error
    except errors.HFValidationError as error:
        raise CheckpointError(
            f"{repository}: not a hub id (owner/name) and no such file or folder; check the path."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise CheckpointError(
                f"{where}: not in the cache and HF_HUB_OFFLINE is set; unset it once to download "
                f"the checkpoint."
            ) from error
        raise _unreachable(where, endpoint, error) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "an error")
        raise CheckpointError(
            f"{where}: {endpoint} answered {status}; try again later, or pass a local folder."
        ) from error
    except CheckpointError:
        raise
    except (OSError, RuntimeError, errors.FileMetadataError) as error:
        raise _unreachable(where, endpoint, error) from error


def _unreachable(where: str, endpoint: str, error: BaseException) -> CheckpointError:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    reason = (str(root).strip().splitlines() or [type(root).__name__])[0]
    return CheckpointError(
        f"{where}: could not be downloaded from {endpoint} ({reason}); check the connection and "
        f"HF_ENDPOINT, or pass a local folder."
    )


def _at(repository: str, revision: str | None) -> str:
    return f"{repository}@{revision}" if revision else repository
