"""Refuse secrets in parameters, because KFP stores and shows every parameter and logs repeat them.

In: parameters or overrides from a user. Out: nothing, or ConfigurationError that names the parameter, never its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from comface.errors import ConfigurationError

IN_A_URL = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^/\s?#'\"{}:]*:[^/\s?#'\"{}@]*@|\bs3:/{1,3}[^/\s?#]*@", re.IGNORECASE)
"""`scheme://user:password@host`; for s3 any user, because the store refuses it. Runs in linear time on any text."""
IN_A_QUERY = re.compile(
    r"[?&;](x-amz-(signature|credential|security-token)|awsaccesskeyid|signature|x-goog-(signature|credential)|sig|"
    r"(access_?|auth_?|id_?)?token|api_?key|pass(word|wd)?|(client_?)?secret)=",
    re.IGNORECASE,
)
"""A presigned URL (AWS, Google, Azure), or a query parameter named like a secret."""
A_KEY = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b")
"""An AWS access key ID."""
NAMED = re.compile(
    r"(secret_?(access_?)?key|(session|access|auth|security)_?token|password|passwd|api_?key|client_?secret)\b",
    re.IGNORECASE,
)
"""Names of secrets: a field's name, or a word before '=' or ':'."""
ASSIGNED = re.compile(NAMED.pattern + r"['\"]?\s*[=:]", re.IGNORECASE)
FIELD = re.compile(r"[\w.\[\]-]{1,80}")


def carries_credentials(text: str) -> bool:
    return any(
        found.search(each) for found in (IN_A_URL, IN_A_QUERY, A_KEY, ASSIGNED) for each in (text, unquote(text))
    )


def refuse_credentials(values: Mapping[str, Any]) -> None:
    """`values`: parameters by name, possibly nested. Raises ConfigurationError for the first that contains a secret."""
    for name, value in values.items():
        if _anywhere(value) or _names_one(name):
            shown = name if FIELD.fullmatch(name) else "a parameter"
            raise ConfigurationError(
                f"The value of {shown} contains credentials, which anyone who can see the run could read; remove them "
                "and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (on a cluster: the secret comface-store)."
            )


def override_values(lines: Iterable[str]) -> dict[str, str]:
    """`field=value` overrides by field, for refuse_credentials, before any other code reads or repeats them."""
    return {line.partition("=")[0]: line for line in lines}


def _names_one(name: str) -> bool:
    return bool(NAMED.search(name)) or carries_credentials(name)


def _anywhere(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_anywhere(each) or _names_one(str(key)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return any(map(_anywhere, value))
    return isinstance(value, str) and carries_credentials(value)
