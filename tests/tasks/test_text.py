"""Text: how it is cleaned, cut and read, and where The Time Machine comes from."""

import hashlib

import jax
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tbptt_jax.files import data_folder
from tbptt_jax.tasks import text as module

TEXT = "The Time-Machine, by H. G. Wells [1898]\n\nI\n" + "abcdefg hijklm\n" * 40


@pytest.fixture
def path(tmp_path):
    (tmp_path / "mine.txt").write_text(TEXT)
    return str(tmp_path / "mine.txt")


def test_cleaning_keeps_letters_in_lower_case_and_single_spaces(path):
    corpus = tb.Text(path).corpus()
    text = "".join(corpus.vocabulary[s] for s in corpus.symbols)
    assert text.startswith("the time machine by h g wells i abcdefg hijklm abcdefg")
    assert corpus.vocabulary[0] == "<unk>" and set(corpus.vocabulary[1:]) == set(text)
    plain = tb.Text(path, clean=False).corpus()
    assert "".join(plain.vocabulary[s] for s in plain.symbols) == TEXT


def test_sequential_order_reads_every_row_once_and_starts_anew():
    """Rows of consecutive symbols; the pass ends where no whole chunk is left, and the next skips a few symbols."""
    task = tb.Text(__file__, length=16, batch_size=3, validation=0.5, clean=False)
    train, _ = task.parts()
    columns = (len(train) - task.length) // task.batch_size
    source, rows, passes = task.start(jax.random.key(0)), [], []
    chunk = jax.jit(task.chunk)
    for _ in range(3 * (columns // task.length)):
        batch, fresh, source = chunk(source)
        symbols = np.asarray(batch.inputs.argmax(-1))
        assert np.array_equal(symbols[1:], batch.targets[:-1])
        if fresh:
            rows = [[] for _ in range(task.batch_size)]
            passes.append(rows)
        for row, more in zip(rows, symbols.T):
            row.extend(more)
    assert len(passes) >= 3
    whole = bytes(train)
    starts = [[whole.find(bytes(np.asarray(row, np.uint8))) for row in rows] for rows in passes[:-1]]
    for rows, first in zip(passes, starts):
        assert first[0] >= 0 and np.all(np.diff(first) == columns) and first[0] < task.length
        assert columns - len(rows[0]) <= task.length + 1
    assert len({first[0] for first in starts}) > 1


def test_random_order_and_held_out_text_come_from_different_parts(path):
    task = tb.Text(path, length=8, batch_size=5, order="random", validation=0.2)
    train, held_out = task.parts()
    assert np.array_equal(np.concatenate([train, held_out]), task.corpus().symbols)
    batch = jax.jit(task.batch)(jax.random.key(0))
    for column in np.asarray(batch.inputs.argmax(-1)).T:
        assert bytes(column.astype(np.uint8)) in bytes(train)
    rows = np.asarray(jax.jit(task.held_out)(jax.random.key(0)).inputs.argmax(-1)).T
    assert rows.shape[0] == 32
    assert all(bytes(row.astype(np.uint8)) in bytes(held_out) for row in rows)
    assert task.floors() == {"uniform": pytest.approx(np.log(task.inputs))}


def test_a_text_that_does_not_suffice_or_cannot_be_read_is_named(path, tmp_path):
    with pytest.raises(ValueError, match=r"64 rows with chunks of 32 need 2144 symbols to train on .*mine.txt has"):
        tb.Text(path, length=32, batch_size=64).parts()
    with pytest.raises(ValueError, match=r"path: .*nowhere.txt cannot be read as text"):
        tb.Text(str(tmp_path / "nowhere.txt")).corpus()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="cannot be read as text"):
        tb.Text(str(tmp_path / "binary")).corpus()


def test_the_time_machine_is_downloaded_once_and_verified(tmp_path, monkeypatch):
    """From a file that stands for the server; with its own checksum, as the real one has."""
    server = tmp_path / "server.txt"
    server.write_text(TEXT)
    folder = tmp_path / "cache" / "deep"
    with pytest.raises(ValueError, match=r"is another file: SHA-256 .* is needed"):
        module.time_machine(folder, server.as_uri())
    assert not folder.exists()
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(TEXT.encode()).hexdigest())
    assert module.time_machine(folder, server.as_uri()).read_text() == TEXT
    server.unlink()
    module.time_machine.cache_clear()
    assert module.time_machine(folder, server.as_uri()).read_text() == TEXT
    module.time_machine.cache_clear()
    (folder / "timemachine.txt").write_text("damaged")
    with pytest.raises(ValueError, match=r"timemachine.txt is another file"):
        module.time_machine(folder, server.as_uri())
    with pytest.raises(ValueError, match=r"cannot be reached .* name its folder by TBPTT_DATA"):
        module.time_machine(tmp_path / "empty", server.as_uri())


@pytest.mark.skipif(not (data_folder() / "timemachine.txt").is_file(), reason="the text is not on this machine")
def test_the_time_machine_has_its_size():
    corpus = tb.TimeMachine().corpus()
    assert len(corpus.symbols) == 173_428 and len(corpus.vocabulary) == 28


def test_a_model_speaks_as_it_was_taught(path):
    """One that has learned the alphabet by heart, from lines that begin with it; the colder, the surer."""
    text = tb.Text(path, length=16, batch_size=8, validation=0.2)
    vocabulary = text.corpus().vocabulary
    size = len(vocabulary)
    following = dict(zip("abcdefg hijklm", "bcdefg hijklm ")) | {" ": "h"}
    odds = np.zeros((size, size))
    for a, b in following.items():
        odds[vocabulary.index(a), vocabulary.index(b)] = 6.0
    weights = jax.numpy.asarray(odds)
    by_heart = tb.model(
        lambda key: weights,
        lambda weights, batch_size: jax.numpy.zeros((batch_size, size)),
        lambda weights, state, x: x @ weights,
        lambda weights, state: state,
        lambda output, target: output[:, 0],
    )
    said = tb.sample_text(by_heart, weights, text, jax.random.key(0), start="ab", length=30, temperature=0.1)
    assert said == ("abcdefg" + " hijklm" * 5)[:32]
    warm = [tb.sample_text(by_heart, weights, text, jax.random.key(k), start="ab", temperature=50.0) for k in (0, 0, 1)]
    assert warm[0] == warm[1] != warm[2] and len(set(warm[0])) > size / 2 and len(warm[0]) == 202
    for options, words in (
        ({"start": "ab!"}, r"start: characters of the text are needed, got 'ab!': no \['!'\]"),
        ({"start": ""}, "start: characters of the text are needed"),
        ({"length": 0}, "length: a whole number of at least 1"),
        ({"temperature": 0.0}, "temperature: a number above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            tb.sample_text(by_heart, weights, text, jax.random.key(0), **options)


def test_a_text_that_changed_is_read_anew(tmp_path):
    file = tmp_path / "a.txt"
    for text in ("abcd", "abcdefg "):
        file.write_text(text * 10)
        task = tb.Text(str(file))
        assert "".join(task.corpus().vocabulary[1:]) == "".join(sorted(set(text)))


def test_a_training_reads_a_text_that_changed_anew(tmp_path):
    file, optimizer, ends = tmp_path / "a.txt", optax.sgd(0.1), []
    for text in ("abcd ", "ddcb a"):
        file.write_text(text * 200)
        task = tb.Text(str(file), length=8, batch_size=2, validation=0.3)
        run = tb.train(task.model("tanh", 2), tb.Full(), task, optimizer, steps=1, key=jax.random.key(0))
        ends.append(run.held_out[-1])
    assert ends[0] != ends[1]
