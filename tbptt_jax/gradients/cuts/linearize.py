"""The pullbacks of all steps of a scan, computed side by side once the states are known."""

from functools import partial
from typing import Any

import jax
from jaxtyping import PyTree

from tbptt_jax.gradients.leaves import floats
from tbptt_jax.jax_internals import depends_on, jaxpr_as_fun


class Pullbacks:
    """For every step t, the linear map (credit on h_t, cotangent of y_t) → credit on h_{t-1}.

    What a pullback needs to remember is of two kinds: what changes from step to step (`saved`, stacked over time), and
    what does not (the weights, say, and all that is computed from them alone), which is kept once.
    `flow(consts, state, x, h)` is one step as a function of the state's floating-point leaves h.
    """

    def __init__(self, flow, consts: Any, states, xs: PyTree):
        def pullback(consts, state, x):
            return jax.vjp(partial(flow, consts, state, x), floats(state))[1]

        stacked = (states, xs)
        self.length = jax.tree.leaves(stacked)[0].shape[0]
        one_step = jax.eval_shape(partial(jax.tree.map, lambda leaf: leaf[0]), stacked)
        program, shapes = jax.make_jaxpr(pullback, return_shape=True)(consts, *one_step)
        self.structure = jax.tree.structure(shapes)
        consts, mapped = jax.tree.leaves(consts), jax.tree.leaves(stacked)
        self.changes = list(depends_on(program.jaxpr, program.jaxpr.invars[len(consts) :]))
        remembered = jax.vmap(
            jaxpr_as_fun(program),
            in_axes=(None,) * len(consts) + (0,) * len(mapped),
            out_axes=[0 if changes else None for changes in self.changes],
        )(*consts, *mapped)
        self.saved = [leaf for leaf, changes in zip(remembered, self.changes) if changes]
        self.fixed = [leaf for leaf, changes in zip(remembered, self.changes) if not changes]

    def step(self, saved: Any, credit: Any, y_bar) -> list:
        """The pullback of the step that `saved` was sliced from."""
        saved, fixed = iter(saved), iter(self.fixed)
        leaves = [next(saved) if changes else next(fixed) for changes in self.changes]
        return jax.tree.unflatten(self.structure, leaves)((credit, y_bar))[0]

    def every_step(self, credits: PyTree, ys_bar: PyTree) -> list:
        """The pullbacks of all steps at once, on credits `[T, ...]`."""
        return jax.vmap(self.step)(self.saved, credits, ys_bar)
