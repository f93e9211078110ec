"""Truncate a program that is no network: the state is carried over chunks, padded sequences have masks."""

import jax
import jax.numpy as jnp
import optax

import tbptt_jax as tb


def unroll(params, state, inputs, lengths):
    """A leaky integrator; what lies beyond a sequence's length leaves its state alone."""

    def step(h, now):
        t, x = now
        new = jnp.tanh(params["keep"] * h + params["gain"] * x)
        h = jnp.where(t < lengths, new, h)
        return h, h

    return jax.lax.scan(step, state, (jnp.arange(len(inputs)), inputs))


def loss(params, state, inputs, targets, lengths):
    state, outputs = unroll(params, state, inputs, lengths)
    there = jnp.arange(len(inputs))[:, None] < lengths
    return jnp.sum(jnp.where(there, (outputs - targets) ** 2, 0)) / jnp.sum(there), state


@jax.jit
def train_step(params, opt_state, state, inputs, targets, lengths):
    short = tb.truncate(loss, tb.Segment(8))
    (value, state), grads = jax.value_and_grad(short, has_aux=True)(params, state, inputs, targets, lengths)
    changes, opt_state = optimizer.update(grads, opt_state)
    return optax.apply_updates(params, changes), opt_state, state, value


optimizer = optax.adam(3e-2)


def main(steps: int = 40) -> list[float]:
    params = {"keep": jnp.array(0.2), "gain": jnp.array(0.2)}
    truth = {"keep": jnp.array(0.8), "gain": jnp.array(0.5)}
    opt_state, losses = optimizer.init(params), []
    state = true_state = jnp.zeros(3)
    lengths = jnp.array([32, 20, 9])
    for i in range(steps):  # one stream, in chunks of 32 steps
        inputs = jax.random.normal(jax.random.key(i), (32, 3))
        true_state, targets = unroll(truth, true_state, inputs, lengths)
        params, opt_state, state, value = train_step(params, opt_state, state, inputs, targets, lengths)
        losses.append(float(value))
    return losses


if __name__ == "__main__":
    losses = main()
    print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}")
