"""A hub of weights that does not answer: that is found out once, and not request by request."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 5.0
"""For the first answer of the hub."""


@contextmanager
def asked_once() -> Iterator[None]:
    """Ask the hub once before anything is fetched; where it does not answer, only files that are kept here are read.

    ``huggingface_hub`` asks six times for every file, and waits for 23 s between. While this is open, and no longer, it
    is told that there is no network.
    """
    from huggingface_hub import constants

    why = "" if constants.HF_HUB_OFFLINE else _why_unreached(constants.ENDPOINT)
    if not why:
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ConnectionError(f"{constants.ENDPOINT} does not answer: {why}") from error
    finally:
        constants.HF_HUB_OFFLINE = False


def _why_unreached(address: str) -> str:
    """Return why an address gives no answer at all; "" where it gives one, whatever it is."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    try:
        get_session().head(address, timeout=WAIT_S)
    except Exception as error:  # noqa: BLE001 - those of requests or httpx, by the version of the hub
        return str(error) or type(error).__name__
    return ""
