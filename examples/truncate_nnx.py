"""Truncate a flax.nnx model in a training step, without a change in the model."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import tbptt_jax as tb


class Net(nnx.Module):
    """Symbols in, log-odds of the next symbol out: an LSTM, a layer norm, a GRU."""

    def __init__(self, symbols: int, hidden: int, rngs: nnx.Rngs):
        self.embed = nnx.Embed(symbols, hidden, rngs=rngs)
        self.first = nnx.RNN(nnx.LSTMCell(hidden, hidden, rngs=rngs))
        self.norm = nnx.LayerNorm(hidden, rngs=rngs)
        self.second = nnx.RNN(nnx.GRUCell(hidden, hidden, rngs=rngs))
        self.readout = nnx.Linear(hidden, symbols, rngs=rngs)

    def __call__(self, symbols):  # [B, T]
        return self.readout(self.second(self.norm(self.first(self.embed(symbols)))))


def loss(net: Net, symbols: jax.Array) -> jax.Array:
    logits = net(symbols[:, :-1])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, symbols[:, 1:]))


@nnx.jit
def train_step(net: Net, optimizer: nnx.Optimizer, symbols: jax.Array) -> jax.Array:
    short = tb.truncate(loss, tb.Segment(16))  # the same values, another gradient
    value, grads = nnx.value_and_grad(short)(net, symbols)
    optimizer.update(net, grads)
    return value


def main(steps: int = 20) -> list[float]:
    net = Net(symbols=5, hidden=16, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)
    symbols = jnp.tile(jnp.arange(5), (4, 13))  # a line that repeats itself
    print(tb.scans(loss)(net, symbols))
    return [float(train_step(net, optimizer, symbols)) for _ in range(steps)]


if __name__ == "__main__":
    losses = main()
    print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}")
