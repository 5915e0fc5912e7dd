"""What stands inside a page: its data, and the hash by which its policy knows its script."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from markupsafe import Markup


def json_of(data: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    return Markup(json.dumps(data, separators=(",", ":")).replace("<", r"\u003c"))  # noqa: S704  (escaped here)


def policy_hash(text: str) -> str:
    """How a content security policy names the one script or style that may work on a page.

    Args:
        text: All that stands in the element.
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
