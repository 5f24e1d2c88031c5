import numpy as np
import pytest

import bleep_sc as bs


def test_the_loss_of_every_epoch_is_drawn(fitted):
    ax = bs.pl.history(fitted)
    (line,) = ax.lines
    loss = fitted.uns["bleep"]["history"]["loss"]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 61))
    np.testing.assert_array_equal(line.get_ydata(), loss)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("epoch", "training loss", "bleep: 60 epochs")


def test_learning_rates_are_compared_and_the_chosen_one_is_marked(reference):
    config = bs.tl.StNetConfig(max_epochs=4, learning_rates=(1e-2, 1e-3))
    bs.tl.fit_stnet(reference, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    loss, validation = bs.pl.history(reference, "stnet")
    pearson = reference.uns["stnet"]["history"]["validation_pearson"]
    best, epoch = np.unravel_index(pearson.argmax(), pearson.shape)
    for line, values in zip(validation.lines[:2], pearson, strict=True):
        np.testing.assert_allclose(line.get_ydata(), values)
    assert [text.get_text() for text in validation.get_legend().get_texts()] == ["0.01", "0.001", "chosen"]
    (x,), (y,) = validation.lines[2].get_data()
    assert (x, y) == (epoch + 1, pearson[best, epoch])
    assert len(loss.lines[0].get_xdata()) == epoch + 1


def test_a_learning_rate_that_diverged_is_left_out(reference):
    history = {"loss": [1.0], "validation_pearson": np.array([[0.1, 0.2], [-1.0, -1.0]])}
    reference.uns["stnet"] = {"history": history}
    line = bs.pl.history(reference, "stnet")[1].lines[1]
    assert np.isnan(line.get_ydata()).all()


def test_what_has_no_history_is_named(reference):
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats")
    with pytest.raises(ValueError, match="key='ridge' has no history: it was solved, not trained"):
        bs.pl.history(reference, "ridge")
    with pytest.raises(KeyError, match=r"key='bleep' is no model in uns \(there are: 'ridge'\). Run bleep_sc.tl.fit"):
        bs.pl.history(reference)
