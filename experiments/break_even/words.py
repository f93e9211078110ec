"""What claims and figures call the biased truncations."""

PLURAL = {
    "segment": "segments",
    "segment from the first step": "segments from the first step",
    "window": "windows",
    "buffered": "overlapping blocks",
}


def plural(side: str) -> str:
    """A truncation of a user's own is called by its name."""
    return PLURAL.get(side, side)
