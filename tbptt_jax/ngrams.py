"""The other baseline without memory: n-grams that are counted, not learned, with Witten & Bell's smoothing (1991)."""

import numpy as np

from tbptt_jax.errors import UserError, require_count


class NGrams:
    """Of a text of symbols 0 .. classes − 1, how often each of them followed each context of up to order − 1 others.

    P(x | c) = (n(c, x) + d(c) P(x | c′)) / (n(c) + d(c)), where d(c) of the classes have followed the context c, and c′
    leaves out its oldest symbol; without any context, the smoothing is towards 1 / classes.
    """

    def __init__(self, text: np.ndarray, classes: int, order: int) -> None:
        if not 1 <= classes <= 256:
            raise UserError(f"classes: a number from 1 to 256 is needed, got {classes}")
        order = require_count("order", order)
        self.classes, self.order = classes, order
        self.counts: dict[bytes, np.ndarray] = {}
        self.found: dict[bytes, np.ndarray] = {}
        letters = self.letters("text", text, dimensions=1)
        for end, symbol in enumerate(letters):
            for size in range(min(order, end + 1)):
                context = letters[end - size : end]
                self.counts.setdefault(context, np.zeros(classes))[symbol] += 1

    def letters(self, name: str, symbols: np.ndarray, dimensions: int) -> bytes:
        """Symbols as bytes, which must be whole numbers below `classes`."""
        symbols = np.asarray(symbols)
        if symbols.ndim != dimensions or not np.issubdtype(symbols.dtype, np.integer):
            shape = "[N]" if dimensions == 1 else "[N, T]"
            raise UserError(f"{name}: whole numbers {shape} are needed, got {symbols.dtype} of shape {symbols.shape}")
        if symbols.size and not (symbols.min() >= 0 and symbols.max() < self.classes):
            ends = f"{symbols.min()} to {symbols.max()}"
            raise UserError(f"{name}: symbols from 0 to {self.classes - 1} are needed, got {ends}")
        return symbols.astype(np.uint8).tobytes()

    def probabilities(self, context: bytes) -> np.ndarray:
        """Of each class, after a context of at most order − 1 symbols."""
        if context not in self.found:
            shorter = self.probabilities(context[1:]) if context else np.full(self.classes, 1 / self.classes)
            counts = self.counts.get(context, np.zeros(self.classes))
            different = np.count_nonzero(counts)
            self.found[context] = (counts + different * shorter) / (counts.sum() + different) if different else shorter
        return self.found[context]

    def loss(self, rows: np.ndarray) -> float:
        """The mean loss in nats of predicting every symbol but the first of each of some rows of text, `[N, T]`."""
        together, length = self.letters("rows", rows, dimensions=2), np.shape(rows)[1]
        if length < 2 or not together:
            raise UserError(f"rows: of two symbols at least are needed, got shape {np.shape(rows)}")
        losses = []
        for start in range(0, len(together), length):
            letters = together[start : start + length]
            for at in range(1, length):
                context = letters[max(0, at - self.order + 1) : at]
                losses.append(-np.log(self.probabilities(context)[letters[at]]))
        return float(np.mean(losses))
