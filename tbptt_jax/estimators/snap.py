"""The influence where it is sparse: SnAp keeps what reaches a unit within n steps, RFLO lets it leak."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.estimators.pytree import Real


class Layout(NamedTuple):
    """Where the influence is kept: up to K units for each parameter; and how the entries of F there are found.

    Units of one colour have no parameter in common, so that one pull with ones at all of them gives F at each of them.
    """

    units: np.ndarray
    """`[P, K]`, padded with 0."""
    kept: np.ndarray
    """`[P, K]`, False where padded."""
    direct: np.ndarray
    """`[P, K]`, where F is not zero."""
    colours: np.ndarray
    """`[H]`."""


def layout_of(jacobian: np.ndarray, direct: np.ndarray, n: int) -> Layout:
    """For parameters that reach units within n steps, by the patterns of J `[H, H]` and F `[H, P]`."""
    reach = direct
    for _ in range(min(n, len(jacobian)) - 1):  # no way is longer than there are units
        reach = reach | (jacobian.astype(int) @ reach > 0)
    width = max(1, reach.sum(0).max())
    units = np.argsort(~reach, axis=0, kind="stable")[:width].T  # those that are reached come first, in order
    kept = np.take_along_axis(reach.T, units, axis=1)
    conflict = direct.astype(int) @ direct.T > 0
    colours = np.zeros(len(jacobian), int)
    for unit in range(1, len(colours)):
        taken = set(colours[:unit][conflict[unit, :unit]])
        colours[unit] = next(colour for colour in range(unit + 1) if colour not in taken)
    return Layout(np.where(kept, units, 0), kept, np.take_along_axis(direct.T, units, axis=1) & kept, colours)


class SparseInfluence(InfluenceEstimator):
    """An influence `[P, K]` at the K units that a parameter reaches: no `[H, P]` matrix where K is small."""

    @abstractmethod
    def layout(self, dynamics) -> Layout:
        """Where the influence is kept."""

    @abstractmethod
    def carried(self, step, layout, influence):
        """What an influence becomes by J, or by what stands in J's place: `[P, K]`."""

    def start(self, dynamics):
        return jnp.zeros(self.layout(dynamics).units.shape, dynamics.params.dtype)

    def advance(self, dynamics, step, influence, noise):
        layout = self.layout(dynamics)
        seeds = np.eye(layout.colours.max() + 1)[layout.colours].T
        pulled = jax.vmap(step.pull)(jnp.asarray(seeds, influence.dtype))  # [colours, P]
        direct = jnp.take_along_axis(pulled.T, jnp.asarray(layout.colours[layout.units]), axis=1)
        return jnp.where(layout.direct, direct, 0) + jnp.where(layout.kept, self.carried(step, layout, influence), 0)

    def credit(self, dynamics, influence, e):
        return jnp.sum(influence * e[self.layout(dynamics).units], axis=1)


@dataclass(frozen=True)
class SnAp(SparseInfluence):
    """RTRL with the influence kept only where a parameter reaches a unit within n steps.

    n = 1 keeps the units that a step's weights act on directly, and of J what leads from these to themselves; with the
    n at which all units are reached it is RTRL, for dense recurrent weights at n = 2. Which entries these are is read
    off the structure of the model's step. For n = 1 it holds P numbers a sequence for tanh, 2 P for LSTM.
    """

    n: int = field(default=1, metadata={"static": True})
    name: ClassVar[str] = "snap"
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Menick et al. 2021, Practical real time recurrent learning with a sparse approximation"

    def __post_init__(self):
        self.require_whole("n", 1)

    def layout(self, dynamics):
        jacobian, direct = dynamics.patterns
        return layout_of(jacobian, direct, self.n)

    def carried(self, step, layout, influence):
        jacobian = step.jacobian()
        if layout.kept.all() and layout.units.shape[1] == len(layout.colours):
            return influence @ jacobian.T
        between = jacobian[layout.units[:, :, None], layout.units[:, None, :]]  # [P, K, K]
        return jnp.einsum("pij,pj->pi", between, influence)


@dataclass(frozen=True)
class RFLO(SparseInfluence):
    """Let the influence leak instead of carrying it by J: M_t = F_t + leak M_{t−1}.

    For a leaky network its leak is the part of a unit's old value that it keeps. Leak 0 drops the past altogether, as
    e-prop does for units that have no memory of their own. Credit comes from the exact e_t, where Murray has it through
    random feedback weights.
    """

    leak: Real = 0.5
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Murray 2019, Local online learning in recurrent networks with random feedback"

    def __post_init__(self):
        self.require("leak", "a number from 0 to 1", lambda leak: (leak >= 0) & (leak <= 1))

    def layout(self, dynamics):
        jacobian, direct = dynamics.patterns
        return layout_of(jacobian, direct, 1)

    def carried(self, step, layout, influence):
        return self.leak * influence
