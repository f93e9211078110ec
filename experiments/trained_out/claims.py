"""What is claimed of the reported losses, at the learning rate and the moment that the selection set chooses."""

from tbptt_jax.experiments.time_machine.claims import COUNTED, compare, counted, of

CLAIMS = (
    compare(
        "A network that is trained with all credit until it learns no more beats the best counted n-gram.",
        *(COUNTED, of("full()"), counted("best_ngram")),
    ),
)
