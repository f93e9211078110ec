"""What is claimed of the reported losses, at the learning rate and the moment that the selection set chooses."""

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.experiments.time_machine.claims import COUNTED, compare, counted, of

CLAIMS = (
    compare(
        "At the best of higher rates a network that is trained with all credit beats the best counted n-gram.",
        *(COUNTED, of("full()"), counted("best_ngram")),
    ),
    compare(
        "At the best of higher rates segments of 8 with an update at every cut beat the best counted n-gram.",
        *(COUNTED, of("segment", "at cuts"), counted("best_ngram")),
    ),
    compare(
        "At the best of higher rates, at equal data, an update at every cut is better than one every 64 steps.",
        *(CHAPTER, of("segment", "at cuts"), of("segment")),
    ),
    compare(
        "At the best of higher rates and equal updates, segments of 8 steps are level with all credit.",
        *(CHAPTER, of("segment"), of("full()"), "level"),
    ),
    compare(
        "At the best of higher rates, randomized works no better than segments of its mean length: they are level.",
        *(CHAPTER, of("randomized"), of("segment"), "level"),
    ),
)
