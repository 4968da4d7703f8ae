import pytest

from evaluation.folder import ResultsFolder
from sensors import InputError


@pytest.fixture
def folder(tmp_path):
    return ResultsFolder(tmp_path / "out")


def test_records_are_found_by_their_names(folder):
    names = ("a--b", "c/d: e", "seed0")
    folder.write("cells", *names, content={"value": 1.5})
    assert folder.read("cells", *names)["value"] == 1.5
    assert folder.read("cells", "a", "b--c/d: e", "seed0") is None
    assert [record["value"] for record in folder.read_all("cells")] == [1.5]


def test_numbers_that_are_not_finite_are_null(folder):
    folder.write("cells", "x", content={"value": float("nan")})
    assert folder.read("cells", "x")["value"] is None


def test_a_damaged_record_is_named(folder):
    folder.write("cells", "x", content={})
    folder.file("cells", "x").write_text('{"format": 1, "val')
    with pytest.raises(InputError, match=r"x\.json is damaged"):
        folder.read("cells", "x")


def test_a_record_of_another_version_is_not_there(folder):
    folder.write("cells", "x", content={"format": 99})
    assert folder.read("cells", "x") is None
    assert list(folder.read_all("cells")) == []


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        ResultsFolder(tmp_path / "out")
