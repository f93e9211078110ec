# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Truncate a model of your own
#
# A network in Flax, as anybody writes it. Nothing in it knows of truncation.

# %%
import jax
import jax.numpy as jnp
import optax
from flax import nnx

import tbptt_jax as tb


class Net(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(5, 12, rngs=rngs)
        self.rnn = nnx.RNN(nnx.GRUCell(12, 24, rngs=rngs))
        self.readout = nnx.Linear(24, 5, rngs=rngs)

    def __call__(self, symbols):
        return self.readout(self.rnn(self.embed(symbols)))


def loss(net, symbols):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(net(symbols[:, :-1]), symbols[:, 1:]))


def line(key):
    """Symbols that repeat those of six steps before."""
    return jnp.tile(jax.random.randint(key, (8, 6), 0, 5), (1, 5))


# %% [markdown]
# ## Which loops are there, and what would cutting them cost?

# %%
net = Net(nnx.Rngs(0))
print(tb.scans(loss)(net, line(jax.random.key(0))))
graph, weights, rest = nnx.split(net, nnx.Param, ...)


def of_weights(weights, symbols):
    return loss(nnx.merge(graph, weights, rest, copy=True), symbols)


figure = tb.plot_bias(of_weights, weights, line(jax.random.key(0)))

# %% [markdown]
# ## Train it three ways
#
# The values of the loss are the same to the bit; only its gradient is cut.


# %%
def trained(truncation, updates=250, random=False):
    net = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def update(net, optimizer, key):
        more = {"key": key, "batch_axis": 0} if random else {}
        value, grads = nnx.value_and_grad(tb.truncate(loss, truncation, **more))(net, line(key))
        optimizer.update(net, grads)
        return value

    return [float(update(net, optimizer, jax.random.key(i))) for i in range(updates)]


found = {
    "all credit": trained(tb.Full()),
    "segments of 3": trained(tb.Segment(3)),
    "randomized, mean length 3": trained(tb.Randomized(2 / 3), random=True),
}
for name, losses in found.items():
    print(f"{name:28} loss {sum(losses[-20:]) / 20:.3f}")
assert sum(found["all credit"][-20:]) < sum(found["segments of 3"][-20:])
