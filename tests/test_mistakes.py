"""Mistakes in Python are as clear as those on the command line. In a process of its own, as users run it: the other
tests check every annotation, which says less."""

import json
import subprocess
import sys

from tests import as_users

PROGRAM = """
import json
import jax, optax
import tbptt_jax as tb

task = tb.Recall(3, batch_size=2)
model, other = task.model("tanh", 4), task.model("gru", 4)
params, batch, key = model.init(jax.random.key(0)), task.batch(jax.random.key(1)), jax.random.key(2)

def loss(x):
    return x * x

def trained(**options):
    return tb.train(model, tb.Full(), task, optax.sgd(0.1), **({"steps": 1, "key": key} | options))

CALLS = {
    "swapped": lambda: tb.gradient(model, tb.Full(), params, batch),
    "class": lambda: tb.gradient(tb.Segment, model, params, batch),
    "text": lambda: tb.gradient("segment(4)", model, params, batch),
    "no model": lambda: tb.gradient(tb.Full(), params, model, batch),
    "tuple": lambda: tb.gradient(tb.Full(), model, params, (batch.inputs, batch.targets)),
    "batch first": lambda: tb.gradient(tb.Full(), model, params, batch._replace(inputs=batch.inputs.swapaxes(0, 1))),
    "other weights": lambda: tb.gradient(tb.Full(), other, params, batch),
    "measured": lambda: tb.measure(model, tb.Full(), params, batch, key),
    "trained": lambda: tb.train(tb.Full(), model, task, optax.sgd(0.1), steps=1, key=key),
    "no key": lambda: trained(key=None),
    "a seed": lambda: tb.measure(tb.Full(), model, params, batch, 0),
    "one rate": lambda: tb.train(model, tb.Full(), task, optax.sgd, steps=1, key=key, learning_rates=0.1),
    "no rates": lambda: tb.train(model, tb.Full(), task, optax.sgd, steps=1, key=key, learning_rates=[]),
    "no function": lambda: trained(watch=3),
    "none at once": lambda: trained(at_once=0),
    "exact of a class": lambda: tb.exact.variance(tb.Full, model, params, batch),
    "no chunk": lambda: tb.exact.evolution(tb.PES(), model, params, batch, 0),
    "no text": lambda: tb.sample_text(model, params, task, key),
    "no size": lambda: tb.rnn("tanh", True, 3, 2),
    "no radius": lambda: tb.rnn("tanh", 2, 3, 2, radius="a"),
    "no form": lambda: tb.make_estimator(5),
    "no choice": lambda: tb.load_results("break_even", foo=1),
    "shapes": lambda: tb.linear_scan(jax.numpy.ones((5, 3)), jax.numpy.ones((5, 4))),
    "no task": lambda: tb.train(model, tb.Full(), batch, optax.sgd(0.1), steps=1, key=key),
    "does not cut": lambda: tb.truncate(loss, tb.RTRL()),
    "cut by a class": lambda: tb.truncate(loss, tb.Segment),
}
said = {}
for name, call in CALLS.items():
    try:
        call()
    except tb.UserError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
EXPECTED = {
    "swapped": "est: an estimator such as Segment(16) is needed, got RNN(",
    "class": "est: an estimator is needed, got the class; write Segment(...)",
    "text": "est: an estimator is needed, got a text; write tb.make_estimator('segment(4)')",
    "no model": "model: a Model is needed after the estimator, got {",
    "tuple": "batch: a Batch(inputs, targets) of arrays [T, B, ...] is needed",
    "batch first": "targets: shape [2, 4, ...] is needed to match the inputs, got [4, 2]",
    "other weights": "params: those of RNN(cell=GRU(",
    "measured": "est: an estimator such as Segment(16) is needed, got RNN(",
    "trained": "est: an estimator such as Segment(16) is needed, got RNN(",
    "no key": "key: a key such as jax.random.key(0) is needed, got None",
    "a seed": "key: a key such as jax.random.key(0) is needed, got 0",
    "one rate": "learning_rates: a list of numbers is needed, got 0.1",
    "no rates": "learning_rates: a list of numbers is needed, got []",
    "no function": "watch: a function of the parameters is needed, or None, got 3",
    "none at once": "at_once: a whole number of at least 1 is needed, got 0",
    "exact of a class": "est: an estimator is needed, got the class; write Full(...)",
    "no chunk": "chunk: a whole number of at least 1 is needed, got 0",
    "no text": "text: a task of text is needed",
    "no size": "inputs: a whole number of at least 1 is needed, got True",
    "no radius": "radius: a number of at least 0 is needed, got 'a'",
    "no form": "estimator: a text such as",
    "no choice": "load_results: unknown name 'foo'",
    "shapes": "factors: shape [5, 4] is needed to match added",
    "no task": "model, est, task: a Model, an estimator and a Task are needed, got RNN(",
    "does not cut": "truncation: an estimator that cuts, such as Segment(16)",
    "cut by a class": "truncation: an estimator that cuts, such as Segment(16)",
}


def test_every_mistake_is_named():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=as_users.environment(), check=True
    )
    said = json.loads(done.stdout)
    assert said.keys() == EXPECTED.keys()
    for name, words in EXPECTED.items():
        assert said[name].startswith(words), said[name]
