"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, named by TERRAGUILD_DATA or lying beside the checkout."""
    named = os.environ.get("TERRAGUILD_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set TERRAGUILD_DATA to the folder of data sets")
    return folder
