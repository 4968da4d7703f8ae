"""Licences: which identifiers a card may state, and which training data hold weights back."""

import re

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from sensors.errors import InputError

UNSTATED = "other"  # what STAC writes where no SPDX identifier applies
_RESTRICTED = re.compile(
    r"\bnc\b|non-?commercial|research|not stated|unknown|proprietary|internal", re.IGNORECASE
)


def check_license(license_id: str) -> str:
    """The licence in SPDX's own spelling.

    Args:
        license_id: An SPDX identifier in any case, `LicenseRef-...` for your own, or `other`.

    Raises:
        InputError: If it is none of them. STAC takes one identifier, not an expression.
    """
    if license_id.lower() == UNSTATED:
        return UNSTATED
    try:
        found = str(canonicalize_license_expression(license_id))
    except InvalidLicenseExpression as error:
        raise InputError(
            f"license {license_id!r} is not an SPDX identifier such as Apache-2.0 or CC-BY-4.0 "
            "(https://spdx.org/licenses); write LicenseRef-NAME for a licence of your own"
        ) from error
    if " " in found:
        raise InputError(f"license {license_id!r} is an expression; a card states one identifier")
    return found


def holds_back(data_license: str | None) -> bool:
    """Whether training data of this licence speak against publishing the weights."""
    return not data_license or bool(_RESTRICTED.search(data_license))
