"""What claims and figures call the biased truncations."""


def plural(side: str) -> str:
    """ "segment from the first step" → "segments from the first step"; "buffered" → "overlapping blocks"."""
    name, *rest = side.split(" ", 1)
    return " ".join([{"buffered": "overlapping blocks"}.get(name, f"{name}s"), *rest])
