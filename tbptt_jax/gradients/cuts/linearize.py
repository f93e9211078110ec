"""The steps of a scan as linear maps, once the states are known: what they do to credits, and to perturbations."""

from collections.abc import Callable
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


class Pushes:
    """For every step t, the linear map perturbation of h_{t-1} → (perturbation of h_t, of y_t)."""

    def __init__(self, flow: Callable, consts: list, states: PyTree, xs: PyTree):
        self.flow, self.consts, self.saved = flow, consts, (states, xs)
        self.length = jax.tree.leaves(self.saved)[0].shape[0]

    def step(self, saved: PyTree, perturbation: list) -> tuple[list, list]:
        """The push of the step that `saved` was sliced from."""
        state, x = saved
        return jax.jvp(partial(self.flow, self.consts, state, x), (floats(state),), (perturbation,))[1]

    def every_step(self, perturbations: list) -> tuple[list, list]:
        """The pushes of all steps at once, on perturbations `[T, ...]`."""
        return jax.vmap(self.step)(self.saved, perturbations)
