"""`tbptt list`: what there is, in a line each, or all of one experiment."""

import json
from collections.abc import Mapping
from typing import Any

from tbptt_jax import experiments
from tbptt_jax.estimators import all_estimators
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import as_list
from tbptt_jax.named import signature, summary
from tbptt_jax.tasks import all_tasks


def list_command(name: str | None, as_json: bool) -> int:
    if name is not None:
        experiment = experiments.load(name)
        print(json.dumps(in_full(experiment), indent=1, ensure_ascii=False) if as_json else as_text(experiment))
        return 0
    kinds: Mapping[str, Mapping[str, Any]] = {"estimators": all_estimators(), "tasks": all_tasks()}
    found = {"experiments": {one: experiments.load(one).summary for one in experiments.names()}}
    found |= {title: {signature(kind): summary(kind) for kind in known.values()} for title, known in kinds.items()}
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    for title, lines in found.items():
        print(title)
        for left, right in lines.items():
            print(f"  {left:48} {right}")
    return 0


def in_full(experiment: Experiment) -> dict[str, Any]:
    """An experiment as plain values."""
    return {
        "name": experiment.name,
        "summary": experiment.summary,
        "source": experiment.source,
        "axes": {scale: {axis: as_list(v) for axis, v in axes.items()} for scale, axes in experiment.axes.items()},
        "claims": [claim.sentence for claim in experiment.claims],
        "checks": [check.sentence for check in experiment.checks],
    }


def as_text(experiment: Experiment) -> str:
    """An experiment for a reader: its axes at each scale, and what it claims."""
    lines = [f"{experiment.name}: {experiment.summary}", f"  from {experiment.source}"]
    for scale, axes in experiment.axes.items():
        lines.append(f"axes at scale {scale}  (other values: --set AXIS=V,V)")
        lines += [f"  {axis:12} {', '.join(map(str, as_list(values)))}" for axis, values in axes.items()]
    for title, sentences in (("claims", experiment.claims), ("checks", experiment.checks)):
        lines += [title, *(f"  {one.sentence}" for one in sentences)] if sentences else []
    return "\n".join(lines)
