"""The influence where it is sparse: kept only at the units that a parameter reaches within n steps.

Two forms of the same: by entries, for any model, and by units, for n = 1 and cells whose weights act through one sum.
"""

from abc import ABC, abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from tbptt_jax.cells import SummedLayer
from tbptt_jax.gradients.influence.dynamics import Dynamics, Step
from tbptt_jax.gradients.influence.summed import as_parameters, declared_layer, sums_that_reach, units


class Kept(ABC):
    """A form of the influence, and what F, J and credit do to it."""

    @abstractmethod
    def nothing(self) -> Array: ...

    @abstractmethod
    def direct(self, step: Step) -> Array:
        """F_t, where it is kept."""

    @abstractmethod
    def carried(self, step: Step, influence: Array) -> Array:
        """J_t M, where it is kept."""

    @abstractmethod
    def leaked(self, influence: Array, leaks: Float[Array, " H"]) -> Array:
        """M with its rows scaled."""

    @abstractmethod
    def credit(self, influence: Array, e: Float[Array, " H"]) -> Float[Array, " P"]:
        """e M."""


def exact(dynamics: Dynamics) -> "ByEntries | None":
    """The form that holds the whole influence, where parameters reach but few units at any time, as in diagonal
    recurrences; None where most reach most."""
    if declared_layer(dynamics) is not None:  # its recurrent weights lead from every unit to every other
        return None
    form = ByEntries(dynamics, dynamics.hidden)
    return form if 2 * form.units.shape[1] <= dynamics.hidden else None


def kept(dynamics: Dynamics, n: int) -> Kept:
    """The form that suits the model and n."""
    cell = declared_layer(dynamics)
    return ByUnits(dynamics, cell) if cell is not None and n == 1 else ByEntries(dynamics, n)


class ByUnits(Kept):
    """`[S, G, H, I]`: a weight of unit i is kept at those of the unit's S numbers that it acts on. All work is
    O(parameters)."""

    def __init__(self, dynamics: Dynamics, cell: SummedLayer):
        self.dynamics, self.cell = dynamics, cell
        self.reached = sums_that_reach(cell, dynamics)[:, :, None, None]

    def nothing(self):
        cell = self.cell
        leaves, inputs = self.dynamics.hidden // cell.hidden, cell.inputs + cell.hidden + cell.bias
        return jnp.zeros((leaves, cell.blocks, cell.hidden, inputs), self.dynamics.params.dtype)

    def direct(self, step: Any):
        at = units(self.cell, self.dynamics, step)
        return at.by_sum[..., None] * at.inputs

    def carried(self, step: Any, influence: PyTree):
        return self.led(units(self.cell, self.dynamics, step).by_own_state, influence)

    def remembered(self, step: Any, influence: PyTree):
        """J_t M, the recurrent weights left out."""
        return self.led(units(self.cell, self.dynamics, step).by_memory, influence)

    def led(self, own: Array, influence: Array) -> Array:
        return jnp.where(self.reached, jnp.einsum("srh,rghi->sghi", own, influence), 0)

    def leaked(self, influence: Array, leaks: Array):
        return leaks.reshape(len(influence), 1, -1, 1) * influence

    def credit(self, influence: PyTree, e: Array):
        weighed = jnp.einsum("sh,sghi->ghi", e.reshape(-1, self.cell.hidden), influence)
        return as_parameters(self.cell, weighed.reshape(-1, weighed.shape[-1]))


class ByEntries(Kept):
    """`[P, K]`: up to K units for each parameter, read off the structure of the step; and how F is found there.

    Units of one colour have no parameter in common, so that one pull with ones at all of them gives F at each of them;
    columns of J of one colour have no row in common, so that one push does.
    """

    units: np.ndarray
    """`[P, K]`, padded with 0."""
    kept: np.ndarray
    """`[P, K]`, False where padded."""
    acted_on: np.ndarray
    """`[P, K]`, where F is not zero."""
    colours: np.ndarray
    """`[H]`, of the rows of F."""
    columns: np.ndarray
    """`[H]`, colours of the columns of J."""

    def __init__(self, dynamics: Dynamics, n: int):
        self.dtype = dynamics.params.dtype
        jacobian, direct = dynamics.patterns
        reach = direct
        for _ in range(min(n, len(jacobian)) - 1):  # no way is longer than there are units
            reach = reach | (jacobian.astype(np.float32) @ reach > 0)
        width = max(1, reach.sum(0).max())
        chosen = np.argsort(~reach, axis=0, kind="stable")[:width].T  # those that are reached come first, in order
        self.kept = np.take_along_axis(reach.T, chosen, axis=1)
        self.acted_on = np.take_along_axis(direct.T, chosen, axis=1) & self.kept
        self.units = np.where(self.kept, chosen, 0)
        self.colours = coloured(direct.astype(np.float32) @ direct.T > 0)
        self.columns = coloured(jacobian.T.astype(np.float32) @ jacobian > 0)
        self.led = jacobian[self.units[:, :, None], self.units[:, None, :]]  # [P, K, K]

    def nothing(self):
        return jnp.zeros(self.units.shape, self.dtype)

    def direct(self, step: Any):
        seeds = np.eye(self.colours.max() + 1)[self.colours].T
        pulled = jax.vmap(step.pull)(jnp.asarray(seeds, self.dtype))  # [colours, P]
        found = jnp.take_along_axis(pulled.T, jnp.asarray(self.colours[self.units]), axis=1)
        return jnp.where(self.acted_on, found, 0)

    def carried(self, step: Any, influence: PyTree):
        if self.kept.all() and self.units.shape[1] == len(self.colours):
            return influence @ step.jacobian().T
        seeds = np.eye(self.columns.max() + 1)[self.columns].T
        pushed = jax.vmap(step.push)(jnp.asarray(seeds, self.dtype))  # [colours, H]
        between = pushed[self.columns[self.units][:, None, :], self.units[:, :, None]]
        carried = jnp.einsum("pij,pj->pi", jnp.where(self.led, between, 0), influence)
        return jnp.where(self.kept, carried, 0)

    def leaked(self, influence: Array, leaks: Array):
        return leaks[self.units] * influence

    def credit(self, influence: PyTree, e: Array):
        return jnp.sum(influence * e[self.units], axis=1)


def coloured(conflict: np.ndarray) -> np.ndarray:
    """Numbers such that units in conflict have different ones, the smallest in order."""
    colours = np.zeros(len(conflict), int)
    for unit in range(1, len(colours)):
        taken = set(colours[:unit][conflict[unit, :unit]])
        colours[unit] = next(colour for colour in range(unit + 1) if colour not in taken)
    return colours
