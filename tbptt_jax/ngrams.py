"""The other baseline without memory: n-grams that are counted, not learned, with Witten & Bell's smoothing (1991)."""

import numpy as np


class NGrams:
    """Of a text of symbols 0 .. classes − 1, how often each of them followed each context of up to order − 1 others.

    P(x | c) = (n(c, x) + d(c) P(x | c′)) / (n(c) + d(c)), where d(c) of the classes have followed the context c, and c′
    leaves out its oldest symbol; without any context, the smoothing is towards 1 / classes.
    """

    def __init__(self, text: np.ndarray, classes: int, order: int) -> None:
        self.classes, self.order = classes, order
        self.counts: dict[bytes, np.ndarray] = {}
        self.found: dict[bytes, np.ndarray] = {}
        letters = np.asarray(text, np.uint8).tobytes()
        for end, symbol in enumerate(letters):
            for size in range(min(order, end + 1)):
                context = letters[end - size : end]
                self.counts.setdefault(context, np.zeros(classes))[symbol] += 1

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
        losses = []
        for row in np.asarray(rows, np.uint8):
            letters = row.tobytes()
            for at in range(1, len(letters)):
                context = letters[max(0, at - self.order + 1) : at]
                losses.append(-np.log(self.probabilities(context)[letters[at]]))
        return float(np.mean(losses))
