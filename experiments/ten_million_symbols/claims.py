"""What is claimed of the bits a symbol that were lost over the last half million of ten million symbols."""

from tbptt_jax.experiments.formal_languages.claims import ONE, SIXTEEN, TWO, UORO, compare

CLAIMS = (
    compare("After ten million symbols, segments of two steps need fewer bits than of one step.", UORO, TWO, ONE),
    compare("After ten million symbols, segments of 16 steps need fewer bits than of two steps.", UORO, SIXTEEN, TWO),
    compare("After ten million symbols, UORO needs fewer bits than segments of one step.", UORO, "uoro()", ONE),
    compare("After ten million symbols, UORO needs fewer bits than segments of two steps.", UORO, "uoro()", TWO),
    compare("After ten million symbols, segments of 16 steps need fewer bits than UORO.", UORO, SIXTEEN, "uoro()"),
)
