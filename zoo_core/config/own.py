"""Names of a user's own Python objects as values of options: `model.net=my_module:MyNet`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints

NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""Of what can be imported: MODULE:NAME."""
OBJECT = r"^python:[\w.]+@[0-9a-f]{12}$"
"""Of an object that a Python program handed over: its qualified name, and digits of its source's hash."""

OwnName = Annotated[str, StringConstraints(pattern=f"{NAME}|{OBJECT}", max_length=200), "MODULE:NAME"]
"""Value of an option that names an object of the user's own."""


def is_name(value: object) -> bool:
    """Return whether a value names an object that would be imported."""
    return isinstance(value, str) and re.match(NAME, value) is not None


def is_object(value: object) -> bool:
    """Return whether a value stands for an object that a Python program handed over."""
    return isinstance(value, str) and re.match(OBJECT, value) is not None
