"""A hub that does not answer is asked once."""

import re
from types import SimpleNamespace

import pytest

import bleep_sc as bs
from bleep_sc.models.hub import asked_once

hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
utils = pytest.importorskip("huggingface_hub.utils")
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def unreached(monkeypatch, tmp_path):
    """A hub without an answer, which nobody may wait for, and an empty folder of what was fetched."""
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited for {seconds} s"))
    return tmp_path


def fetch(repository="owner/network", cache=None):
    return hub.hf_hub_download(repository, "config.json", cache_dir=cache)


@pytest.mark.parametrize("name", ["uni2", "h_optimus_0", "phikon_v2", "hf-hub:owner/network"])
def test_an_encoder_that_cannot_be_fetched_says_so_at_once(unreached, name):
    with pytest.raises(
        OSError, match=rf"weights of encoder '.*' could not be loaded.*{re.escape(NOWHERE)} does not ans"
    ):
        bs.models.load_encoder(name)
    assert constants.HF_HUB_OFFLINE is False


def test_what_was_fetched_before_is_read_without_the_hub(unreached):
    folder = unreached / "models--owner--network"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("a" * 40) / "config.json").write_text("{}")
    with asked_once():
        assert constants.HF_HUB_OFFLINE
        assert fetch(cache=unreached).endswith("config.json")
    assert constants.HF_HUB_OFFLINE is False
    with pytest.raises(ConnectionError, match=f"{NOWHERE} does not answer: .*"), asked_once():
        fetch("owner/other", unreached)
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_answers_whatever_is_left_alone(monkeypatch):
    asked = []
    session = SimpleNamespace(head=lambda address, timeout: asked.append((address, timeout)))
    monkeypatch.setattr(utils, "get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with asked_once():
        assert constants.HF_HUB_OFFLINE is False
    assert asked == [(constants.ENDPOINT, 5.0)]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as the user said
    with asked_once():
        assert constants.HF_HUB_OFFLINE
    assert len(asked) == 1
    assert constants.HF_HUB_OFFLINE
