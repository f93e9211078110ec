"""The command line `tbptt`: it parses words and calls the rest. JAX is imported only by the commands that need it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tbptt_jax.version import __version__


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser()
    given = parser.parse_args(words)
    try:
        return given.command(given)
    except ValueError as error:
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

    command("list", list_names, "the estimators, one line each")
    check = command("check", check_estimator, "contract and unbiasedness tests on an estimator")
    check.add_argument("estimator", help='such as "randomized(keep=0.9)" or "my_file.py:Mine(keep=0.9)"')
    bench = command("bench", run_benchmark, "speed against a peer, measured side by side")
    bench.add_argument("name", choices=["analysis"])
    bench.add_argument("--rounds", type=int, default=9, metavar="N", help="default: 9")
    info = command("info", show_info, "versions, devices, where results and data live")
    info.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results/")
    return parser


def list_names(given) -> int:
    from tbptt_jax.estimators.registry import estimators, signature

    print("estimators")
    for kind in estimators().values():
        summary = (kind.__doc__ or "").strip().splitlines()[0]
        print(f"  {signature(kind):48} {summary}")
    return 0


def check_estimator(given) -> int:
    from tbptt_jax.estimators.contract import check
    from tbptt_jax.estimators.registry import make_estimator

    marks = {True: "held", False: "BROKEN", None: "-"}
    findings = []
    for finding in check(make_estimator(given.estimator)):
        findings.append(finding)
        print(f"{marks[finding.held]:6}  {finding.sentence}", f"\n        {finding.detail}" if finding.detail else "")
    broken = sum(finding.held is False for finding in findings)
    print(f"{given.estimator}: {broken} of {len(findings)} broken" if broken else f"{given.estimator}: all held")
    return 1 if broken else 0


def run_benchmark(given) -> int:
    from importlib import import_module

    if given.rounds < 1:
        raise ValueError(f"--rounds: a number of at least 1 is needed, got {given.rounds}")
    import_module(f"tbptt_jax.benchmarks.{given.name}").main(given.rounds)
    return 0


def show_info(given) -> int:
    import platform
    from importlib.metadata import version

    import jax

    print(f"tbptt_jax  {__version__}")
    print(f"python     {platform.python_version()}")
    for package in ("jax", "jaxlib", "flax", "optax", "numpy"):
        print(f"{package:10} {version(package)}")
    print(f"devices    {', '.join(f'{device.platform} {device.device_kind}' for device in jax.devices())}")
    print(f"results    {given.results.resolve()}")
    print(f"data       {data_folder()}")
    return 0


def data_folder() -> Path:
    """Where data sets are read from and kept: $TBPTT_DATA, or a folder of the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TBPTT_DATA") or cache / "tbptt_jax").resolve()


if __name__ == "__main__":
    sys.exit(main())
