"""The steps of a scan as linear maps: what they do to credits, and to perturbations.

A step is linearised once, as it runs forward: what its derivative must remember is kept beside what it puts out. Of
that there are two kinds: what changes from step to step, stacked over time, and what does not (the weights, say, and
all that is computed from them alone), which is kept once. A step with a rule of its own for the way back
(`jax.custom_vjp`) cannot be treated so: its states are kept, and it is run again from them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from tbptt_jax.jax_internals import (
    ClosedJaxpr,
    dce_jaxpr,
    depends_on,
    jaxpr_as_fun,
    only,
    without_prints,
)
from tbptt_jax.leaves import floats, with_floats


class Flow(NamedTuple):
    """A step `(consts, state, x) → (new state, y)` as a function of the floats that move: all of the state's, and
    those of consts and x that do not stay still."""

    step: Callable
    consts_still: list[bool]
    xs_still: list[bool]

    def of_consts(self, consts: list) -> list:
        """The floats of consts that move."""
        return [leaf for leaf, still in zip(floats(consts), self.consts_still) if not still]

    def of_xs(self, xs: PyTree) -> list:
        """The floats of inputs that move."""
        return [leaf for leaf, still in zip(floats(xs), self.xs_still) if not still]

    def outputs(self, consts: list, state: PyTree, x: PyTree, moving: tuple[list, list, list]) -> tuple[PyTree, PyTree]:
        """All that the step puts out."""
        own, h, x_floats = moving
        consts = with_floats(consts, filled(self.consts_still, floats(consts), own))
        return self.step(consts, with_floats(state, h), with_floats(x, filled(self.xs_still, floats(x), x_floats)))

    def __call__(self, consts: list, state: PyTree, x: PyTree, *moving: list) -> tuple[list, list]:
        """The floats of what it puts out."""
        new_state, y = self.outputs(consts, state, x, moving)  # type: ignore[arg-type]
        return floats(new_state), floats(y)


class Pullbacks:
    """The pullbacks of the steps. `step` is the linear map (credit on h_t, cotangent of y_t) → credit on h_{t-1} of one
    step; `side_by_side` gives, for many steps at once, what consts receive from all of them, the credit that each step
    passes back, and what each x receives.

    `consts` are those that move. `saved` is what the steps remember, stacked; a caller hands to `step` the slice of its
    step.
    """

    def __init__(self, consts: list, saved: PyTree, step: Callable, side_by_side: Callable):
        self.consts, self.saved, self.step, self.side_by_side = consts, saved, step, side_by_side
        self.length = jax.tree.leaves(saved)[0].shape[0]

    def every_step(self, credits: list, ys_bar: list) -> list:
        """The pullbacks of all steps at once, on credits `[T, ...]`."""
        return jax.vmap(self.step)(self.saved, credits, ys_bar)


class Linearized:
    """A step that puts out, beside y, what its derivative must remember; and its pullbacks, made of that."""

    def __init__(self, flow: Flow, consts: list, state: PyTree, x: PyTree):
        def forward(consts: list, state: PyTree, x: PyTree) -> tuple[PyTree, Callable]:
            def outputs_twice(*moving: list) -> tuple[PyTree, PyTree]:
                outputs = flow.outputs(consts, state, x, moving)  # type: ignore[arg-type]
                return tuple(map(floats, outputs)), outputs

            at = flow.of_consts(consts), floats(state), flow.of_xs(x)
            _, derivative, outputs = jax.linearize(outputs_twice, *at, has_aux=True)
            return outputs, derivative

        self.flow = flow
        self.program, shapes = jax.make_jaxpr(forward, return_shape=True)(consts, state, x)
        self.quiet = ClosedJaxpr(without_prints(self.program.jaxpr), self.program.consts)
        self.outputs, self.derivative = map(jax.tree.structure, shapes)
        self.put_out = put_out = len(jax.tree.leaves(shapes[0]))
        jaxpr = self.program.jaxpr
        own = jaxpr.invars[len(jax.tree.leaves(consts)) :]
        remembered, changes = jaxpr.outvars[put_out:], list(depends_on(jaxpr, own))[put_out:]
        self.once = [i for i, change in enumerate(changes) if not change]
        places = {variable: i for i, variable in enumerate(own)}  # the state and x are known anyway
        self.places = []
        for i, (variable, change) in enumerate(zip(remembered, changes)):
            if change and variable not in places:  # some are remembered twice
                places[variable] = len(places)
                self.places.append(put_out + i)
        self.sources = {i: places[v] for i, (v, change) in enumerate(zip(remembered, changes)) if change}

    def step(self, consts: list, state: PyTree, x: PyTree, quiet: bool = False) -> tuple[PyTree, tuple[PyTree, list]]:
        """The new state, and y beside what is to be remembered; quietly, without what it prints."""
        program = self.quiet if quiet else self.program
        leaves = jaxpr_as_fun(program)(*jax.tree.leaves((consts, state, x)))
        new_state, y = jax.tree.unflatten(self.outputs, leaves[: self.put_out])
        return new_state, (y, [leaves[place] for place in self.places])

    def remembered_once(self, consts: list) -> list:
        """What is remembered of the consts alone."""
        jaxpr = self.quiet.jaxpr
        small, used = dce_jaxpr(jaxpr, [i - self.put_out in self.once for i in range(len(jaxpr.outvars))])
        leaves = [leaf for leaf, is_used in zip(jax.tree.leaves(consts), used) if is_used]
        return jaxpr_as_fun(ClosedJaxpr(small, self.program.consts))(*leaves)

    def pullbacks(self, consts: list, states: PyTree, xs: PyTree, memory: list) -> Pullbacks:
        """Of some steps, from the states before them `[T, ...]`, their inputs and what they remember."""
        once = dict(zip(self.once, self.remembered_once(consts)))

        def derivative(saved: list) -> Callable:
            leaves = once | {i: saved[place] for i, place in self.sources.items()}
            return jax.tree.unflatten(self.derivative, [leaves[i] for i in range(len(leaves))])

        own, x_floats = self.flow.of_consts(consts), self.flow.of_xs(xs)

        def step(saved: list, credit: list, y_bar: list) -> list:
            x = [leaf[0] for leaf in x_floats]
            pull = jax.linear_transpose(derivative(saved), own, credit, x)
            return only(1, pull, (credit, y_bar))

        def side_by_side(saved: list, credits: list, ys_bar: list) -> tuple[list, list, list]:
            def forward(own: list, h: list, x: list) -> tuple[list, list]:
                return jax.vmap(lambda saved, h, x: derivative(saved)(own, h, x))(saved, h, x)

            count = jax.tree.leaves(saved)[0].shape[0]
            xs = [jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype) for leaf in x_floats]
            return jax.linear_transpose(forward, own, credits, xs)((credits, ys_bar))

        return Pullbacks(own, [*jax.tree.leaves((states, xs)), *memory], step, side_by_side)


class RunAgain:
    """A step that remembers nothing; and its pullbacks, for which it is run again."""

    def __init__(self, flow: Flow, again: Callable):
        self.flow, self.again = flow, flow._replace(step=again)

    def step(self, consts: list, state: PyTree, x: PyTree, quiet: bool = False) -> tuple[PyTree, tuple[PyTree, list]]:
        """The new state, and y; quietly, without what it prints. Nothing is to be remembered."""
        new_state, y = (self.again if quiet else self.flow).step(consts, state, x)
        return new_state, (y, [])

    def pullbacks(self, consts: list, states: PyTree, xs: PyTree, memory: list) -> Pullbacks:
        """Of some steps, from the states before them `[T, ...]` and their inputs."""
        again = self.again
        own = again.of_consts(consts)

        def step(saved: tuple[PyTree, PyTree], credit: list, y_bar: list) -> list:
            state, x = saved
            pull = jax.vjp(lambda h: again(consts, state, x, own, h, again.of_xs(x)), floats(state))[1]
            return pull((credit, y_bar))[0]

        def side_by_side(saved: tuple[PyTree, PyTree], credits: list, ys_bar: list) -> tuple[list, list, list]:
            states, xs = saved

            def forward(own: list, h: list, x: list) -> tuple[list, list]:
                return jax.vmap(lambda *of_step: again(consts, *of_step[:2], own, *of_step[2:]))(states, xs, h, x)

            return jax.vjp(forward, own, floats(states), again.of_xs(xs))[1]((credits, ys_bar))

        return Pullbacks(own, (states, xs), step, side_by_side)


class Pushes:
    """For every step t, the linear map perturbation of h_{t-1} → (perturbation of h_t, of y_t)."""

    def __init__(self, flow: Callable, states: PyTree, xs: PyTree):
        self.flow, self.saved = flow, (states, xs)
        self.length = jax.tree.leaves(self.saved)[0].shape[0]

    def step(self, saved: PyTree, perturbation: list) -> tuple[list, list]:
        """The push of the step that `saved` was sliced from."""
        state, x = saved
        return jax.jvp(partial(self.flow, state, x), (floats(state),), (perturbation,))[1]

    def side_by_side(self, saved: PyTree, perturbations: list) -> tuple[list, list]:
        """The pushes of many steps: the derivative of the steps side by side, since that of a step with a rule of its
        own for the way back cannot be put side by side."""
        states, xs = saved
        return jax.jvp(partial(jax.vmap(self.flow), states, xs), (floats(states),), (perturbations,))[1]

    def every_step(self, perturbations: list) -> tuple[list, list]:
        """The pushes of all steps at once, on perturbations `[T, ...]`."""
        return self.side_by_side(self.saved, perturbations)


def filled(still: list[bool], likes: list, moving: Any) -> list:
    """Floats, those that move taken from `moving`, in order, and the others from `likes`."""
    rest = iter(moving)
    return [like if rests else next(rest) for rests, like in zip(still, likes)]
