"""The command line `tbptt`: it parses words and calls the rest. JAX is imported only by the commands that need it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tbptt_jax.errors import UserError
from tbptt_jax.version import __version__


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser()
    given = parser.parse_args(words)
    given.words = list(sys.argv[1:] if words is None else words)
    try:
        return given.command(given)
    except UserError as error:
        print(f"tbptt: {error}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tbptt", description="What truncated backpropagation through time costs and what it buys."
    )
    parser.add_argument("--version", action="version", version=f"tbptt_jax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, summary):
        added = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(command=function)
        return added

    command("list", list_names, "the experiments, estimators and tasks, one line each")
    run = command("run", run_experiment, "run an experiment, from where it stopped; figures and claims at the end")
    run.add_argument("name", help="an experiment, or a file that holds one")
    run.add_argument("--scale", choices=["smoke", "default", "paper"], help="default: default")
    run.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file of these same words; the command line wins"
    )
    run.add_argument("--set", action="append", default=[], metavar="AXIS=V,V,...", help="other values of an axis")
    run.add_argument("--seeds", type=int, metavar="N", help="how many seeds, side by side")
    run.add_argument("--estimator", action="append", default=[], metavar="TEXT", help='such as "segment(tau=8)"')
    run.add_argument(
        "--add-estimator", action="append", default=[], metavar="TEXT", help="one more, beside the experiment's own"
    )
    run.add_argument("--task", action="append", default=[], metavar="TEXT", help='such as "recall(distance=20)"')
    run.add_argument("--jobs", type=int, metavar="N", help="that many worker processes on this machine (Dask)")
    run.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask cluster, such as tcp://host:8786")
    run.add_argument("--timeout", type=float, metavar="S", help="give up a cell after so many seconds")
    run.add_argument("--fail-fast", action="store_true", help="stop at the first cell that fails")
    run.add_argument("--debug", action="store_true", help="let an exception through, for a debugger")
    for name, function, summary in (
        ("status", show_status, "what is recorded of an experiment"),
        ("plot", plot_results, "draw the figures of what is recorded"),
        ("claims", judge_claims, "judge the claims by what is recorded"),
        ("export", export_table, "write the table of what is recorded"),
    ):
        command(name, function, summary).add_argument("name", help="an experiment, or a file that holds one")
    commands.choices["export"].add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv, .parquet")
    check = command("check", check_value, "contract and unbiasedness tests on an estimator, or those on a task")
    check.add_argument("value", help='such as "randomized(keep=0.9)" or "my_file.py:Mine(keep=0.9)"')
    bench = command("bench", run_benchmark, "speed against a peer, measured side by side")
    bench.add_argument("name", choices=["analysis", "training"])
    bench.add_argument("--rounds", type=int, default=9, metavar="N", help="default: 9")
    command("info", show_info, "versions, devices, where results and data live")
    for name in ("run", "status", "plot", "claims", "export", "info"):
        commands.choices[name].add_argument(
            "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results/"
        )
    return parser


def list_names(given: argparse.Namespace) -> int:
    from tbptt_jax import experiments
    from tbptt_jax.estimators import all_estimators
    from tbptt_jax.named import signature, summary
    from tbptt_jax.tasks import all_tasks

    print("experiments")
    for name in experiments.names():
        print(f"  {name:48} {experiments.load(name).summary}")
    for title, kinds in (("estimators", all_estimators()), ("tasks", all_tasks())):
        print(title)
        for kind in kinds.values():
            print(f"  {signature(kind):48} {summary(kind)}")
    return 0


def check_value(given: argparse.Namespace) -> int:
    """The contract of an estimator or a task: a known name says which of the two, a file is asked for both."""
    from tbptt_jax.estimators import Estimator, all_estimators
    from tbptt_jax.estimators import contract as of_estimators
    from tbptt_jax.named import Named, made, read_call
    from tbptt_jax.tasks import Task, all_tasks
    from tbptt_jax.tasks import contract as of_tasks

    known = {**all_estimators(), **all_tasks()}
    value: Any = made("check", read_call("check", given.value, known, Named))
    if not isinstance(value, Estimator | Task):
        raise UserError(f"check: an estimator or a task is needed, got {given.value}")
    marks = {True: "held", False: "BROKEN", None: "-"}
    findings = []
    for finding in of_tasks.check(value) if isinstance(value, Task) else of_estimators.check(value):
        findings.append(finding)
        print(f"{marks[finding.held]:6}  {finding.sentence}", f"\n        {finding.detail}" if finding.detail else "")
    broken = sum(finding.held is False for finding in findings)
    print(f"{given.value}: {broken} of {len(findings)} broken" if broken else f"{given.value}: all held")
    return 1 if broken else 0


def run_experiment(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import Running, run_command
    from tbptt_jax.lab.grid import Choices

    if given.config is not None:
        from_file(given)
    if given.jobs and given.scheduler:
        raise UserError("--jobs, --scheduler: give one of the two, not both")
    for option, value in (("--seeds", given.seeds), ("--timeout", given.timeout), ("--jobs", given.jobs)):
        if value is not None and not value > 0:
            raise UserError(f"{option}: a number above 0 is needed, got {value}")
    if not (given.jobs or given.scheduler):
        use_all_cores()
    choices = Choices(
        given.scale or "default", given.set, given.estimator, given.add_estimator, given.task, given.seeds
    )
    how = Running(given.jobs, given.scheduler, given.timeout, given.fail_fast, given.debug, given.words)
    return run_command(given.name, given.results, choices, how)


def use_all_cores() -> None:
    """A device of JAX's for every core, over which runs and samples are spread, unless the user chose their number."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = jax.config.jax_num_cpu_devices >= 0  # type: ignore[attr-defined]
    if not chosen and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", cores)


def from_file(given: argparse.Namespace) -> None:
    """Take the words of a TOML file where the command line says nothing else: scale, seeds, estimator,
    add_estimator, task, jobs, scheduler, timeout, and a table `set` of axes."""
    import tomllib

    from tbptt_jax.errors import choose

    try:
        words = tomllib.loads(given.config.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config: {given.config} cannot be read: {error}") from error
    known = {
        "scale": str,
        "seeds": int,
        "estimator": list,
        "add_estimator": list,
        "task": list,
        "jobs": int,
        "scheduler": str,
        "timeout": float,
        "set": dict,
    }
    for name, value in words.items():
        kind = choose(f"--config {given.config}", name, known)
        if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
            raise UserError(f"--config {given.config}: {name} must be of type {kind.__name__}, got {value!r}")
    for name in known.keys() - {"set"} & words.keys():
        if not getattr(given, name):
            setattr(given, name, words[name])
    overridden = {text.partition("=")[0].strip() for text in given.set}
    for axis, values in words.get("set", {}).items():
        if axis not in overridden:
            given.set.append(f"{axis}=" + ",".join(map(str, values if isinstance(values, list) else [values])))


def show_status(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import status_command

    return status_command(given.name, given.results)


def plot_results(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import plot_command

    return plot_command(given.name, given.results)


def judge_claims(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import claims_command

    return claims_command(given.name, given.results)


def export_table(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import export_command

    return export_command(given.name, given.results, given.output)


def run_benchmark(given: argparse.Namespace) -> int:
    from importlib import import_module

    if given.rounds < 1:
        raise UserError(f"--rounds: a number of at least 1 is needed, got {given.rounds}")
    use_all_cores()
    import_module(f"tbptt_jax.benchmarks.{given.name}").main(given.rounds)
    return 0


def show_info(given: argparse.Namespace) -> int:
    import platform
    from importlib.metadata import version

    import jax

    from tbptt_jax.files import data_folder

    print(f"tbptt_jax  {__version__}")
    print(f"python     {platform.python_version()}")
    for package in ("jax", "jaxlib", "flax", "optax", "numpy"):
        print(f"{package:10} {version(package)}")
    print(f"devices    {', '.join(f'{device.platform} {device.device_kind}' for device in jax.devices())}")
    print(f"results    {given.results.resolve()}")
    print(f"data       {data_folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
