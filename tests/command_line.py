"""`netadapt` called within this process."""

from __future__ import annotations

import pytest

from netadapt.commands import cli


def exit_code(*arguments: str) -> int:
    """What the command line leaves with."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code
