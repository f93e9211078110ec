"""The command line as tests use it: in this process where that is enough, else in one of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from tbptt_jax.cli import main

TOY = Path(__file__).with_name("toy.py")


def tbptt(capfd, *words, results=None):
    """Exit code and output of a command that runs here."""
    code = main([str(word) for word in words] + (["--results", str(results)] if results else []))
    captured = capfd.readouterr()
    return code, captured.out + captured.err


def start(*words, results, log=None, toy=TOY, **environment):
    """`tbptt run` of the toy as a process."""
    line = [sys.executable, "-m", "tbptt_jax.cli", "run", str(toy), "--results", str(results), *map(str, words)]
    variables = os.environ | {"JAX_PLATFORMS": "cpu"} | ({"TOY_LOG": str(log)} if log else {}) | environment
    return subprocess.Popen(line, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(*words, **how):
    process = start(*words, **how)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def rows(results, place="smoke"):
    return pl.read_parquet(results / "toy" / place / "table.parquet")


def measured(log):
    """The cells that were measured, one entry each time."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def wait_for(happened, seconds=60):
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert happened()
