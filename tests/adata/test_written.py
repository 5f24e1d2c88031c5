import logging

import numpy as np
import pytest

import bleep_sc as bs


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "bleep_sc")
    return lambda: [message for message in caplog.messages if "Written: " in message]


def test_what_a_function_wrote_is_said_once_and_how_long_it_took(toy, said):
    bs.pp.image_features(toy, "stain_stats", key_added="X_mine", show_progress_bar=False)
    (message,) = said()
    assert message.startswith(f"pp.image_features: {toy.n_obs} spots in ")
    assert message.endswith(" s. Written: obsm['X_mine'], uns['X_mine'].")


def test_what_was_there_and_is_another_now_is_said_too(toy, said):
    bs.pp.select_genes(toy, batch_key="library_id", n_top_genes=5)
    bs.pp.select_genes(toy, batch_key="library_id", n_top_genes=9)
    assert [message.partition("Written: ")[2] for message in said()] == [
        "var['highly_variable'], var['highly_variable_nbatches']."
    ] * 2


def test_what_was_written_again_is_said_even_where_it_is_equal(fitted, query, said):
    bs.tl.impute(query, ref=fitted)
    bs.tl.impute(query, ref=fitted)
    first, second = (message.partition("Written: ")[2] for message in said())
    assert first == second
    assert "obs['bleep_confidence']" in second
    assert "obs['library_id']" not in second


def test_a_copy_says_what_it_has_and_a_call_inside_of_another_nothing(fitted, query, said):
    copied = bs.tl.predict(query, ref=fitted, key="bleep", key_added="mine", copy=True)
    (message,) = said()
    assert message.startswith("tl.predict: ")
    assert "layers['mine']" in message
    assert "mine" in copied.layers


def test_a_call_that_fails_and_one_of_a_maker_say_nothing(fitted, query, said):
    with pytest.raises(KeyError, match="holds no model"):
        bs.tl.impute(query, ref=fitted, key="none-such")
    bs.tl.load_model(fitted)
    assert said() == []


def test_a_fit_says_what_was_fitted_on_what(reference, caplog):
    caplog.set_level(logging.INFO, "bleep_sc")
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats")
    n = int(np.sum(reference.var["highly_variable"]))
    said = f"Fitted ridge regression on {reference.n_obs} spots and {n} genes; slides: 'slice1', 'slice2'."
    assert said in caplog.messages
