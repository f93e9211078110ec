"""Text as a stream of characters: The Time Machine, or any text file of the user's own."""

import hashlib
import re
import urllib.request
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.files import content_digest, data_folder, write_atomically
from tbptt_jax.models import Batch
from tbptt_jax.tasks.base import Task

UNKNOWN = "<unk>"
TIME_MACHINE = "timemachine.txt"
SHA256 = "4149e15a170aa94068969282e8b2cee7aaab0d889bf1c0d684378177040267dd"
URL = "https://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt"
ROWS = 32  # into which held-out text is cut, to be read side by side


class Corpus(NamedTuple):
    """A text as symbols, the whole numbers that stand for the entries of its vocabulary."""

    symbols: np.ndarray
    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class Text(Task):
    """Predict the next character of a text file: letters in lower case, and a space for everything between them.

    Order "sequential" cuts the text into `batch_size` rows and reads them in chunks of `length`, the state carried; at
    the end it starts anew, a random number of symbols later. Order "random" reads fresh windows from anywhere. The last
    part of the text, `validation` of it, is held out. With `clean=False` every character of the file is a symbol.
    """

    path: str
    length: int = 32  # type: ignore[misc]
    batch_size: int = 32
    order: str = "sequential"
    validation: float = 0.1
    clean: bool = True
    reference: ClassVar[str] = "the textbook chapter and lecture on backpropagation through time"

    def __post_init__(self):
        self.require_whole("length", 1)
        self.require_whole("batch_size", 1)
        self.require("validation", "a number between 0 and 1", lambda validation: (validation > 0) & (validation < 1))
        if self.order not in ("sequential", "random"):
            raise UserError(f'{self.name}: order must be "sequential" or "random", got {self.order!r}')

    @property
    def streams(self):  # type: ignore[override]
        return self.order == "sequential"

    @property
    def inputs(self):
        return len(self.corpus().vocabulary)

    @property
    def outputs(self):
        return self.inputs

    def corpus(self) -> Corpus:
        file = self.file()
        try:
            stamp = file.stat()
        except OSError as error:
            raise UserError(f"text: path: {file} cannot be read as text: {error}") from error
        return read_corpus(file.resolve(), self.clean, stamp.st_mtime_ns, stamp.st_size)

    def file(self) -> Path:
        return Path(self.path)

    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """The symbols to train on, and those that are held out."""
        symbols = self.corpus().symbols
        split = round(len(symbols) * (1 - self.validation))
        train, held_out = symbols[:split], symbols[split:]
        needed = self.batch_size * (self.length + 1) + self.length
        if len(train) < needed or len(held_out) < 2 * ROWS:
            raise UserError(
                f"{self.name}: {self.batch_size} rows with chunks of {self.length} need {needed} symbols to train on "
                f"and {2 * ROWS} held out; {self.file()} has {len(train)} and {len(held_out)}"
            )
        return train, held_out

    def batch(self, key: Array):
        symbols = jnp.asarray(self.parts()[0])
        starts = jax.random.randint(key, (self.batch_size,), 0, len(symbols) - self.length)
        return self.as_batch(symbols[starts + jnp.arange(self.length + 1)[:, None]])

    def held_out(self, key: Array):
        """All of the held-out text, in 32 rows."""
        symbols = self.parts()[1]
        columns = len(symbols) // ROWS
        return self.as_batch(jnp.asarray(symbols[: ROWS * columns].reshape(ROWS, columns).T))

    def as_batch(self, symbols: Array):
        symbols = symbols.astype(int)
        return Batch(jax.nn.one_hot(symbols[:-1], self.inputs), symbols[1:])

    def start(self, key: Array):
        return self.beginning(key) if self.streams else key

    def beginning(self, key: Array):
        """(key for the next pass, symbols that this pass leaves out at the start, column): the start of a pass."""
        key, now = jax.random.split(key)
        return key, jax.random.randint(now, (), 0, self.length), jnp.array(0)

    def chunk(self, source: PyTree, steps: Any = None):
        if not self.streams:
            return super().chunk(source, steps)
        symbols = jnp.asarray(self.parts()[0])
        columns = (len(symbols) - self.length) // self.batch_size
        key, skipped, column = source
        rows = skipped + columns * jnp.arange(self.batch_size)
        batch = self.as_batch(symbols[rows + column + jnp.arange(self.length + 1)[:, None]])
        on = key, skipped, column + (self.length if steps is None else steps)
        over = on[2] + self.length + 1 > columns
        source = jax.tree.map(lambda anew, on: jax.lax.select(over, anew, on), self.beginning(key), on)
        return batch, column == 0, source

    def floors(self):
        return {"uniform": log(self.inputs)}

    def data(self):
        return {Path(self.path).name: content_digest(self.path)}


@dataclass(frozen=True)
class TimeMachine(Text):
    """Predict the next character of The Time Machine by H. G. Wells: 173,428 symbols of 28 classes.

    The text is read from the data folder ($TBPTT_DATA, or one of the user's cache), where it is downloaded to if it is
    not there; its checksum is verified. The rest as for `text`.
    """

    path: str = ""
    name: ClassVar[str] = "time_machine"

    def file(self):
        return Path(self.path) if self.path else time_machine(data_folder(), URL)

    def data(self):
        return super().data() if self.path else {TIME_MACHINE: SHA256}


@cache
def read_corpus(path: Path, clean: bool, *stamp: int) -> Corpus:
    """A text, read once for as long as the file is the same."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"text: path: {path} cannot be read as text: {error}") from error
    if clean:
        text = re.sub("[^A-Za-z]+", " ", text).lower()
    vocabulary = (UNKNOWN, *sorted(set(text)))
    if len(vocabulary) > 256:
        raise UserError(f"text: {path} has {len(vocabulary) - 1} different characters; at most 255 are possible")
    number = {character: i for i, character in enumerate(vocabulary)}
    return Corpus(np.array([number[character] for character in text], np.uint8), vocabulary)


@cache
def time_machine(folder: Path, url: str) -> Path:
    """The file in a folder, downloaded if it is not there, after a check of its checksum."""
    path = folder / TIME_MACHINE
    if not path.is_file():
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                content = answer.read()
        except OSError as error:
            raise UserError(
                f"time_machine: there is no {path}, and {url} cannot be reached ({error}); put the file there, name "
                f"its folder by TBPTT_DATA, or train on a text of yours: text(path='...')"
            ) from error
        check(content, url)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    check(path.read_bytes(), path)
    return path


def check(content: bytes, where: Any) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise UserError(f"time_machine: {where} is another file: SHA-256 {found}, where {SHA256} is needed")
