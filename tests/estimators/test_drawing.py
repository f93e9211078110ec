"""What estimators draw on their way through a sequence: a stretch at a time, so that it takes no memory."""

import jax
import jax.numpy as jnp
import numpy as np

import tbptt_jax as tb
from tbptt_jax.benchmarks.memory import measured
from tbptt_jax.estimators.influence import scan_drawing
from tests.problems import BATCH, HIDDEN, INPUTS, problem


def test_what_is_drawn_is_drawn_a_stretch_of_steps_at_a_time():
    xs = jnp.arange(150.0)
    draws = []

    def draw(key, length):
        draws.append(length)
        return jax.random.normal(key, (length,))

    def step(carry, now):
        x, noise = now
        return 0.5 * carry + x * noise, None

    found = scan_drawing(draw, jax.random.key(0), step, 0.0, xs)
    assert set(draws) == {1, 22, 64}  # and the whole of no sequence; one step to see whether anything is drawn
    stretches = [draw(jax.random.fold_in(jax.random.key(0), i), size) for i, size in enumerate((64, 64, 22))]
    assert len(set(np.concatenate(stretches).tolist())) == 150
    expected = jax.lax.scan(step, 0.0, (xs, jnp.concatenate(stretches)))[0]
    assert abs(found - expected) < 1e-12
    assert (
        scan_drawing(draw, jax.random.key(1), step, 0.0, xs[:64])
        == (jax.lax.scan(step, 0.0, (xs[:64], draw(jax.random.key(1), 64)))[0])
    )


def test_memory_does_not_grow_with_what_is_drawn():
    sizes = [measured("uoro()", length)["temporary_bytes"] for length in (256, 1024)]
    assert sizes[1] <= 1.2 * sizes[0]


def test_the_signs_are_drawn_anew_for_every_step_and_sequence():
    model, params, batch = problem("tanh")
    est = tb.UORO()
    dynamics = est.dynamics(model, params, model.initial_state(params, BATCH), batch.inputs[0])
    signs = np.asarray(est.noise(jax.random.key(0), (40, 5), dynamics))
    assert signs.shape == (40, 5, 1, HIDDEN) and set(signs.ravel()) == {-1.0, 1.0}
    assert len({tuple(row) for row in signs.reshape(40, -1)}) == 40
    assert dynamics.weights == HIDDEN * (INPUTS + HIDDEN + 1)
