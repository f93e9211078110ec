"""Truncate an Equinox model under `filter_jit`, and see beforehand what it costs. Needs equinox."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import tbptt_jax as tb


class Net(eqx.Module):
    """Symbols in, log-odds of the next symbol out, of one sequence."""

    embed: eqx.nn.Embedding
    cell: eqx.nn.GRUCell
    readout: eqx.nn.Linear

    def __init__(self, symbols: int, hidden: int, key: jax.Array):
        keys = jax.random.split(key, 3)
        self.embed = eqx.nn.Embedding(symbols, hidden, key=keys[0])
        self.cell = eqx.nn.GRUCell(hidden, hidden, key=keys[1])
        self.readout = eqx.nn.Linear(hidden, symbols, key=keys[2])

    def __call__(self, symbols):  # [T]
        def step(h, x):
            h = self.cell(x, h)
            return h, h

        _, hs = jax.lax.scan(step, jnp.zeros(self.cell.hidden_size), jax.vmap(self.embed)(symbols))
        return jax.vmap(self.readout)(hs)


def loss(net: Net, symbols: jax.Array) -> jax.Array:
    logits = jax.vmap(net)(symbols[:, :-1])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, symbols[:, 1:]))


@eqx.filter_jit
def train_step(net: Net, state, symbols: jax.Array, optimizer):
    value, grads = eqx.filter_value_and_grad(tb.truncate(loss, tb.Window(16)))(net, symbols)
    changes, state = optimizer.update(grads, state)
    return eqx.apply_updates(net, changes), state, value


def main(steps: int = 20) -> list[float]:
    net, optimizer = Net(5, 16, jax.random.key(0)), optax.adam(1e-2)
    state, losses = optimizer.init(eqx.filter(net, eqx.is_array)), []
    symbols = jnp.tile(jnp.arange(5), (4, 13))
    arrays, rest = eqx.partition(net, eqx.is_array)
    bias = tb.exact.truncation_bias(lambda p, b: loss(eqx.combine(p, rest), b), arrays, symbols, taus=[4, 16])
    print(f"relative bias of windows of 4 and 16 steps: {bias['window'].relative_bias}")
    for _ in range(steps):
        net, state, value = train_step(net, state, symbols, optimizer)
        losses.append(float(value))
    return losses


if __name__ == "__main__":
    losses = main()
    print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}")
