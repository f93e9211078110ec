"""Randomly truncate a flax.linen RNN, with gates of its own for every sequence, in an optax training step."""

import jax
import jax.numpy as jnp
import optax
from flax import linen

import tbptt_jax as tb


class Net(linen.Module):
    """Symbols in, log-odds of the next symbol out."""

    symbols: int
    hidden: int

    @linen.compact
    def __call__(self, symbols):  # [B, T]
        embedded = linen.Embed(self.symbols, self.hidden)(symbols)
        return linen.Dense(self.symbols)(linen.RNN(linen.GRUCell(self.hidden))(embedded))


net = Net(symbols=5, hidden=16)
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))


def loss(params, symbols: jax.Array) -> jax.Array:
    logits = net.apply(params, symbols[:, :-1])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, symbols[:, 1:]))


@jax.jit
def train_step(params, state, symbols: jax.Array, key: jax.Array):
    noisy = tb.truncate(loss, tb.Randomized(0.9), key=key, batch_axis=0)  # unbiased: its mean is the gradient
    value, grads = jax.value_and_grad(noisy)(params, symbols)
    changes, state = optimizer.update(grads, state)
    return optax.apply_updates(params, changes), state, value


def main(steps: int = 20) -> list[float]:
    symbols = jnp.tile(jnp.arange(5), (4, 13))
    params = net.init(jax.random.key(0), symbols)
    state, losses = optimizer.init(params), []
    for i in range(steps):
        params, state, value = train_step(params, state, symbols, jax.random.key(i))
        losses.append(float(value))
    return losses


if __name__ == "__main__":
    losses = main()
    print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}")
