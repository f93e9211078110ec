"""A grid as plain values: which cells, what decides their numbers, and where this process computes."""

from dataclasses import replace
from inspect import getdoc

from tbptt_jax.errors import UserError
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import Choices, each_cell
from tbptt_jax.lab.measuring import environment
from tbptt_jax.lab.origin import Origins
from tbptt_jax.records.cell import Cell, Plan


def plan(experiment: Experiment, choices: Choices, precision: str | None = None, devices: str | None = None) -> Plan:
    """The plan of an experiment's grid, in this process's precision and on its devices unless others are named; refused
    before anything runs if a value or a file cannot be."""
    origins = Origins(precision, devices)
    own, added = (one.axes(experiment).get("seed", []) for one in (replace(choices, cap=None), choices))
    turns = {seed: turn for turn, seed in enumerate(added[len(own) :], 1)}
    found = [
        Cell(config.identity, origins.of(config), dict(config.axes), config.columns, turns.get(config.seed, 0))
        for config in each_cell(experiment, choices)
    ]
    if not found:
        why = " ".join((getdoc(experiment.makes_sense) or "").split())
        raise UserError(f"{experiment.name}: no cell makes sense at {choices}" + (f". {why}" if why else ""))
    rules = sorted(claim.rule for claim in experiment.claims if claim.rule)
    where = environment() | {"scale": choices.scale, "version": experiment.version, "claims": rules}
    return Plan(experiment.name, experiment.version, str(choices), found, origins.by_digest, where)
