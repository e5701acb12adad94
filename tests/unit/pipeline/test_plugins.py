"""The file name is the plug-in name."""

import pytest

from pipeline import plugins
from pipeline.errors import UnknownPluginError


def test_an_unknown_name_is_told_with_what_there_is() -> None:
    """The line a desk reads when it misspells a venue."""
    with pytest.raises(UnknownPluginError) as error:
        plugins.load("bidding.markets", "ercto")

    assert str(error.value) == "no 'ercto' in bidding.markets; have ercot, miso, sandbox"
    assert error.value.exit_code == 2


def test_every_file_that_is_not_private_is_a_plugin() -> None:
    """Nothing has to be registered."""
    assert "sandbox" in plugins.available("bidding.markets")
    assert plugins.load("bidding.markets", "sandbox").__name__ == "bidding.markets.sandbox"
