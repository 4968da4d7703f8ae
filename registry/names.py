"""Names, versions and references of registered models."""

import re
from dataclasses import dataclass

from sensors.errors import InputError

# A subset of what the MLM extension allows for `mlm:name`, safe as a folder on every file system.
_NAME = re.compile(r"(?!.*\.\.)[a-z][a-z0-9._-]{1,62}[a-z0-9]", re.ASCII)
_NUMBER = r"(0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}", re.ASCII)


def check_name(name: str) -> str:
    """Return `name` if a model may be called so; a name is also a folder of the store.

    Raises:
        InputError: If it may not.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a model name: use 3 to 64 of a-z, 0-9, '.', '_' and '-', beginning "
            "with a letter, ending with a letter or digit, without '..' (such as s2-landcover)"
        )
    return name


def check_version(version: str) -> str:
    """Return `version` if it is three numbers, as in semantic versioning without suffixes.

    Raises:
        InputError: If it is not.
    """
    if not _VERSION.fullmatch(version):
        raise InputError(f"{version!r} is not a version: use MAJOR.MINOR.PATCH, such as 1.0.0")
    return version


def version_key(version: str) -> tuple[int, ...]:
    """Numbers of a version, to order versions by."""
    return tuple(int(part) for part in check_version(version).split("."))


@dataclass(frozen=True)
class Reference:
    """A model by name, at one version or, where that is None, at the highest there is."""

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `name` or `name@version`.

        Raises:
            InputError: If the name or the version is not valid.
        """
        name, separator, version = text.partition("@")
        return cls(check_name(name), check_version(version) if separator else None)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"
