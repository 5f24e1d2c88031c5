import json
import sys

import pytest

import bleep_sc as bs

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def folder(fitted, tmp_path):
    bs.tl.share_reference(fitted, tmp_path / "shared")
    return tmp_path / "shared"


@pytest.fixture
def calls(monkeypatch):
    """What would have been asked of the hub."""
    made = []

    class Api:
        def __init__(self, token=None):
            made.append(("token", token))

        def create_repo(self, repo_id, **how):
            made.append(("create_repo", repo_id, how))
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, **how):
            made.append(("upload_folder", how))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    return made


def test_the_files_of_the_reference_are_uploaded_and_no_others(folder, calls):
    (folder / "notes.txt").write_text("Mrs Miller")
    url = bs.tl.push_reference(folder, "lab/liver", token="hf_x")
    assert url == "https://huggingface.co/lab/liver"
    token, created, (_, uploaded) = calls
    assert token == ("token", "hf_x")
    assert created == ("create_repo", "lab/liver", {"private": True, "exist_ok": True})
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("lab/liver", folder)
    expected = {"README.md", "model.json", "model.safetensors", "reference.h5ad"}
    assert set(uploaded["allow_patterns"]) == expected


def test_a_token_may_be_known_already(folder, calls, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_y")
    bs.tl.push_reference(folder, "lab/liver", private=False)
    assert calls[0] == ("token", None)
    assert calls[1][2]["private"] is False


def test_without_a_token_nothing_is_asked(folder, calls):
    with pytest.raises(
        ValueError, match=r"no token for the Hugging Face Hub. Run 'hf auth login' once, or pass token="
    ):
        bs.tl.push_reference(folder, "lab/liver")
    assert calls == []


def test_without_the_library_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "bleep-sc\[hub\]"'):
        bs.tl.push_reference(folder, "lab/liver")


def test_only_shared_references_are_pushed(fitted, tmp_path, calls):
    bs.tl.save_model(fitted, tmp_path / "model")
    with pytest.raises(
        FileNotFoundError, match=r"is no shared reference.*bleep_sc.tl.share_reference\(adata_ref, path\)"
    ):
        bs.tl.push_reference(tmp_path / "model", "lab/liver", token="hf_x")
    assert calls == []


def test_forbidden_weights_are_refused_here_too(folder, calls):
    file = folder / "model.json"
    content = json.loads(file.read_text())
    content["architecture"]["encoder"] = "hf-hub:paige-ai/Virchow2"
    del content["checksum"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not let them be given away"):
        bs.tl.push_reference(folder, "lab/liver", token="hf_x")
    assert calls == []
