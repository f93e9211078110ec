"""The command line `tbptt`: it parses words and calls the rest. JAX is imported only by the commands that need it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tbptt_jax.errors import Stopped, UserError
from tbptt_jax.version import __version__
from tbptt_jax.words import asked_for, choices_of, from_file, in_bytes, in_inches


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser()
    given = parser.parse_args(words)
    given.words = list(sys.argv[1:] if words is None else words)
    try:
        return flushed(given.command(given))
    except UserError as error:
        print(f"tbptt: {error}", file=sys.stderr)
        return 3 if isinstance(error, Stopped) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def flushed(code: int) -> int:
    sys.stdout.flush()
    return code


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tbptt",
        description="What truncated backpropagation through time costs and what it buys.",
        epilog="Exit codes: 0 all is well; 1 a cell failed or diverged, a check is broken, a record damaged; 2 the "
        "words cannot be; 3 the run was stopped from outside (disk, folder, scheduler), and the same command goes on; "
        "130 interrupted; 141 whoever read the output went away.",
    )
    parser.add_argument("--version", action="version", version=f"tbptt_jax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, summary):
        added = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(command=function)
        return added

    listed = command("list", list_names, "the experiments, estimators and tasks, one line each")
    listed.add_argument("name", nargs="?", help="an experiment, of which all axes and claims are shown")
    new = command("new", start_new, "a file to start from, which runs as it is")
    new.add_argument("kind", choices=["estimator", "experiment", "task"])
    new.add_argument("name", help="of the class or the experiment; the file is named after it")
    new.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="default: here")
    compared = command("compare", compare_results, "which verdicts and figures differ between two results folders")
    compared.add_argument("first", type=Path, metavar="A")
    compared.add_argument("second", type=Path, metavar="B")
    run = command("run", run_experiment, "run an experiment, from where it stopped; figures and claims at the end")
    run.add_argument("name", help="an experiment, or a file that holds one")
    run.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a TOML file that says what to measure, and where; the command line wins",
    )
    run.add_argument("--jobs", type=int, metavar="N", help="that many processes, a cell at a time each; default: 1")
    run.add_argument("--devices", type=int, metavar="N", help="CPU devices of each, over which a cell is split")
    run.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask cluster, such as tls://host:8786")
    run.add_argument("--slurm", metavar="WORDS", help='--jobs workers in a SLURM queue: "partition=gpu,cores=4"')
    run.add_argument("--timeout", type=float, metavar="S", help="give up a cell after so many seconds")
    run.add_argument("--memory", metavar="SIZE", help="give up a cell that takes more, such as 4G")
    run.add_argument("--until-decided", action="store_true", help="add seeds where claims are open")
    run.add_argument("--cap", type=int, metavar="N", help="but no more seeds than these (default: 40)")
    run.add_argument("--about", default="", metavar="WORDS", help="and only for claims that have these words")
    run.add_argument("--keep", action="store_true", help="count what is committed although code has changed since")
    run.add_argument("--fail-fast", action="store_true", help="stop at the first cell that fails")
    run.add_argument("--debug", action="store_true", help="measure in this very process, and let exceptions through")
    for name, function, summary in (
        ("status", show_status, "what is recorded of an experiment"),
        ("plot", plot_results, "draw the figures of what is recorded"),
        ("claims", judge_claims, "judge the claims by what is recorded"),
        ("export", export_table, "write the table of what is recorded"),
    ):
        command(name, function, summary).add_argument("name", help="an experiment, or a file that holds one")
    for name in ("run", "status", "plot", "claims", "export"):
        add_choices(commands.choices[name])
    commands.choices["status"].add_argument(
        "--watch", type=float, nargs="?", const=5.0, metavar="S", help="again every so many seconds, until all is done"
    )
    add_looks(commands.choices["plot"])
    commands.choices["claims"].add_argument("--latex", action="store_true", help="as a table for a paper")
    verify = command("verify", verify_records, "whether every record is whole")
    verify.add_argument("name", nargs="*", help="experiments; default: all that have records")
    verify.add_argument("--repair", action="store_true", help="remove what is damaged; it is kept in cells/damaged")
    merge = command("merge", merge_records, "take over what other machines measured")
    merge.add_argument("folder", type=Path, nargs="+", help="a results folder of another machine")
    commands.choices["export"].add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv, .parquet")
    reported = command("report", write_report, "one page of all claims, figures and tables, for a browser")
    reported.add_argument("--output", type=Path, metavar="FILE", help="default: index.html in the results folder")
    check = command("check", check_value, "contract and unbiasedness tests on an estimator, or those on a task")
    check.add_argument("value", help='such as "randomized(keep=0.9)" or "my_file.py:Mine(keep=0.9)"')
    bench = command("bench", run_benchmark, "speed against a peer, measured side by side")
    bench.add_argument("name", choices=["analysis", "compiling", "growth", "memory", "parallel", "speed", "training"])
    bench.add_argument("--rounds", type=int, default=9, metavar="N", help="default: 9")
    command("info", show_info, "versions, devices, where results and data live")
    completion = command("completion", print_completion, "a script by which a shell completes these words")
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    for name in ("list", "status", "claims"):
        commands.choices[name].add_argument("--json", action="store_true", help="for programs")
    for name in ("run", "status", "plot", "claims", "export", "verify", "merge", "info", "bench", "report"):
        commands.choices[name].add_argument(
            "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results/"
        )
    return parser


def add_choices(command: argparse.ArgumentParser) -> None:
    """What a grid is asked for by; the same words mean the same grid in every command."""
    command.add_argument("--scale", choices=["smoke", "default", "paper"], help="default: default")
    command.add_argument("--set", action="append", default=[], metavar="AXIS=V,V,...", help="other values of an axis")
    command.add_argument("--seeds", type=int, metavar="N", help="how many seeds, side by side")
    command.add_argument("--estimator", action="append", default=[], metavar="TEXT", help='such as "segment(tau=8)"')
    command.add_argument(
        "--add-estimator", action="append", default=[], metavar="TEXT", help="one more, beside the experiment's own"
    )
    command.add_argument("--task", action="append", default=[], metavar="TEXT", help='such as "recall(distance=20)"')


def add_looks(command: argparse.ArgumentParser) -> None:
    """How figures look that are made for a paper."""
    command.add_argument("--format", default="svg,png", metavar="F,F", help="svg, png, pdf; default: svg,png")
    command.add_argument("--width", metavar="SIZE", help="such as 3.25in or 8cm; the height follows")
    command.add_argument("--font-size", type=float, metavar="PT", help="of the axes' labels; the others follow")
    command.add_argument("--select", metavar="NAME,NAME", help="only these methods or series")
    command.add_argument("--output", type=Path, metavar="DIR", help="default: the folder of what is recorded")


def list_names(given: argparse.Namespace) -> int:
    from tbptt_jax.catalogue import list_command

    return list_command(given.name, given.json)


def start_new(given: argparse.Namespace) -> int:
    from tbptt_jax.starting import new_command

    return new_command(given.kind, given.name, given.folder)


def compare_results(given: argparse.Namespace) -> int:
    from tbptt_jax.comparing import compare_command

    return compare_command(given.first, given.second)


def write_report(given: argparse.Namespace) -> int:
    from tbptt_jax.files import require_folder_of, write_atomically
    from tbptt_jax.report.page import report

    output = given.output or given.results / "index.html"
    require_folder_of("--output" if given.output else "--results", output)
    write_atomically(output, report(given.results).encode())
    print(f"report: {output}")
    return 0


def check_value(given: argparse.Namespace) -> int:
    """The contract of an estimator or a task: a known name says which of the two, a file is asked for both."""
    from tbptt_jax.contracts import of_estimators, of_tasks
    from tbptt_jax.estimators import Estimator, all_estimators
    from tbptt_jax.named import Named, made, read_call
    from tbptt_jax.tasks import Task, all_tasks

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
    from tbptt_jax.running.command import Running, run_command

    if given.config is not None:
        from_file(given)
    ways = [f"--{name}" for name in ("scheduler", "slurm", "debug") if getattr(given, name)]
    if len(ways) > 1 or (given.jobs and (given.scheduler or given.debug)):
        both = [*ways, "--jobs"] if given.jobs and "--slurm" not in ways else ways
        raise UserError(f"{', '.join(both)}: give one of them, not all")
    for name in ("seeds", "timeout", "jobs", "devices", "cap"):
        value = getattr(given, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name}: a number above 0 is needed, got {value}")
    if given.cap is not None and not given.until_decided:
        raise UserError("--cap: it bounds the seeds that --until-decided adds; give both")
    memory = None if given.memory is None else in_bytes(given.memory)
    how = Running(
        given.jobs or 1,
        *(given.scheduler, given.slurm, given.devices, given.timeout, memory),
        *(given.fail_fast, given.debug, (given.cap or 40) if given.until_decided else None, given.about),
        keep=given.keep,
        words=given.words,
    )
    return run_command(given.name, given.results, choices_of(given), how)


def use_all_cores() -> None:
    """A device of JAX's for every core, over which runs and samples are spread, unless the user chose their number."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = jax.config.jax_num_cpu_devices >= 0  # type: ignore[attr-defined]
    if not chosen and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", cores)


def show_status(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import status_command

    if given.watch is not None and not given.watch > 0:
        raise UserError(f"--watch: a number above 0 is needed, got {given.watch:g}")
    return status_command(given.name, given.results, asked_for(given), given.watch, given.json)


def plot_results(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import plot_command
    from tbptt_jax.plots.style import Look

    look = Look.of(given.format, given.width and in_inches(given.width), given.font_size)
    select = [] if given.select is None else [name.strip() for name in given.select.split(",")]
    return plot_command(given.name, given.results, asked_for(given), look, select, given.output)


def judge_claims(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import claims_command

    if given.json and given.latex:
        raise UserError("--json, --latex: give one of them, not both")
    return claims_command(given.name, given.results, asked_for(given), given.json, given.latex)


def export_table(given: argparse.Namespace) -> int:
    from tbptt_jax.commands import export_command

    return export_command(given.name, given.results, asked_for(given), given.output)


def verify_records(given: argparse.Namespace) -> int:
    from tbptt_jax.records.upkeep import experiments_in, verified

    folders = [given.results / name for name in given.name] or experiments_in(given.results)
    damaged = 0
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"verify: there is no folder {folder}")
        health = verified(folder, given.repair)
        damaged += len(health.trouble)
        print(f"{health.name}: {health.whole} records are whole, {len(health.trouble)} are damaged")
        for trouble in health.trouble:
            print(f"  {'removed' if given.repair else 'damaged'}: {trouble}")
    return 1 if damaged and not given.repair else 0


def merge_records(given: argparse.Namespace) -> int:
    from tbptt_jax.records.upkeep import experiments_in, merge

    for results in given.folder:
        if results.resolve() == given.results.resolve():
            raise UserError(f"merge: {results} is the folder to merge into; name another, or --results")
        for folder in experiments_in(results):
            print(f"{folder.name}: {merge(given.results / folder.name, folder)} cells are new, from {folder}")
    return 0


def run_benchmark(given: argparse.Namespace) -> int:
    from importlib import import_module

    if given.rounds < 1:
        raise UserError(f"--rounds: a number of at least 1 is needed, got {given.rounds}")
    use_all_cores()
    benchmark = import_module(f"tbptt_jax.benchmarks.{given.name}")
    options = {"results": given.results} if given.name in ("growth", "memory", "speed") else {}
    benchmark.main(given.rounds, **options)
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


def print_completion(given: argparse.Namespace) -> int:
    from tbptt_jax.completion import completion

    print(completion(make_parser(), given.shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
