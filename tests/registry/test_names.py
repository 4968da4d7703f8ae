import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.names import Reference, check_name, check_version, version_key
from sensors.errors import InputError


@given(st.text() | st.from_regex(r"[a-z0-9./\\@~-]{1,70}", fullmatch=True))
def test_a_name_let_through_is_one_harmless_folder(name):
    try:
        check_name(name)
    except InputError:
        return
    assert 3 <= len(name) <= 64
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert name[0].isalpha()
    assert name[-1].isalnum()
    assert ".." not in name


@pytest.mark.parametrize("name", ["s2-landcover", "a.b_c-9", "x" * 64, "s1x"])
def test_good_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "ab", "x" * 65, "../x", "a/b", "a\\b", "a..b", ".abc", "abc.", "Abc", "1abc", "a b"),
        *("é-abc", "abc\n", "abc\x00", "s2@1.0.0"),
    ],
)
def test_bad_names(name):
    with pytest.raises(InputError, match="is not a model name"):
        check_name(name)


@pytest.mark.parametrize(
    "version",
    ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-rc1", "v1.0.0", "1.0.x", "1.0.0\n", "-1.0.0"],
)
def test_bad_versions(version):
    with pytest.raises(InputError, match="is not a version"):
        check_version(version)


numbers = st.tuples(*[st.integers(0, 10**9 - 1)] * 3)


@given(numbers, numbers)
def test_versions_are_ordered_by_number(one, other):
    ordered = version_key(".".join(map(str, one))) < version_key(".".join(map(str, other)))
    assert ordered == (one < other)


@pytest.mark.parametrize("text", ["s2-landcover", "s2-landcover@1.2.3"])
def test_references_say_what_they_were_read_from(text):
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize("text", ["s2@", "@1.0.0", "s2-landcover@latest", "s2-landcover@1.0.0@1"])
def test_bad_references(text):
    with pytest.raises(InputError):
        Reference.parse(text)
