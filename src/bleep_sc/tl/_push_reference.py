from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc.tl._load_reference import CARD_FILE, REFERENCE_FILE, require_reference

if TYPE_CHECKING:
    from pathlib import Path


def push_reference(path: str | Path, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload a reference that :func:`bleep_sc.tl.share_reference` wrote to the Hugging Face Hub.

    Needs ``pip install "bleep-sc[hub]"`` and a token that may write (``hf auth login``).

    Parameters
    ----------
    path
        The folder. Read its ``README.md`` first: it lists what remains of the donors.
    repo_id
        ``"owner/name"`` on the hub.
    private
        Whether a new repository is seen by its owner alone; an existing one stays as it is.
    token
        None is the one that ``hf auth login`` or ``HF_TOKEN`` gave.

    Returns
    -------
    The address of the repository.

    Raises
    ------
    ImportError
        When ``huggingface_hub`` is not installed.
    FileNotFoundError
        When the folder is not complete.
    ValueError
        When there is no token, or the files hold weights of an encoder whose licence forbids it.
    OSError
        When the hub refuses, with what it says.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.share_reference`:

    >>> bs.tl.push_reference("toy_reference", "owner/toy-reference")  # doctest: +SKIP
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            'bleep_sc.tl.push_reference needs huggingface_hub: pip install "bleep-sc[hub]". Or upload the files of '
            "the folder by hand; they are complete."
        ) from error
    from bleep_sc.models.encoder_licenses import refuse_forbidden
    from bleep_sc.models.saved import DESCRIPTION_FILE, WEIGHTS_FILE, read_folder

    path = require_reference(path)
    description, _ = read_folder(path)
    refuse_forbidden(description.architecture.get("encoder", ""))
    if token is None and huggingface_hub.get_token() is None:
        raise ValueError("There is no token for the Hugging Face Hub. Run 'hf auth login' once, or pass token=.")
    api = huggingface_hub.HfApi(token=token)
    url = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(
        repo_id=repo_id,
        folder_path=path,
        allow_patterns=[CARD_FILE, DESCRIPTION_FILE, REFERENCE_FILE, WEIGHTS_FILE],
        commit_message="Reference of bleep_sc",
    )
    return str(url)
