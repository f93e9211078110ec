# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Backpropagation through time, by hand
#
# A linear network of one unit, $h_t = w\, h_{t-1} + x_t$, with a loss at the end, $L = \frac12 (h_T - y)^2$. Everything
# can be written down: $\frac{\partial h_T}{\partial w} = \sum_{k \ge 0} w^k\, h_{T-1-k}$, a sum over *lags* $k$, each
# with a product of $k$ Jacobians, which here is $w^k$.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import tbptt_jax as tb

jax.config.update("jax_enable_x64", True)
T = 24
xs = jax.random.normal(jax.random.key(0), (T,))


def step(w, h, x):
    return w * h + x


def states(w):
    return jax.lax.scan(lambda h, x: (step(w, h, x),) * 2, 0.0, xs)[1]


def by_lags(w):
    """The terms of ∂h_T/∂w, lag by lag."""
    before = jnp.concatenate([jnp.zeros(1), states(w)[:-1]])  # h_{t−1} of every step
    return w ** jnp.arange(T) * before[::-1]


w = 0.9
exact = jax.grad(lambda w: states(w)[-1])(w)
print("sum over lags", by_lags(w).sum(), " automatic differentiation", exact)
assert np.isclose(by_lags(w).sum(), exact)

# %% [markdown]
# ## Vanishing and exploding
#
# With $|w| < 1$ the terms fade with the lag, and far steps teach nothing; with $|w| > 1$ they grow, and far steps drown
# the near ones. In a network of many units the eigenvalues of $W_{hh}$ stand in the place of $w$.

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for weight in (0.5, 0.8, 1.0, 1.2):
    axes.plot(weight ** np.arange(T), label=f"w = {weight}")
axes.set(xlabel="lag k (steps)", ylabel="product of k Jacobians", yscale="log")
axes.legend(frameon=False)

# %% [markdown]
# ## Three strategies
#
# * **Regular truncation** cuts the sequence into segments of τ steps; credit does not cross a cut.
# * **A fixed look-back** lets every loss see the last τ steps.
# * **Randomized truncation** multiplies what crosses from step $t$ to step $t-1$ by $\xi_t$: 0 with probability
#   $1-\alpha$, else $1/\alpha$. Its mean is 1, and so the mean of the estimate is the whole gradient.
#
# Below, what the loss of step $t$ (down) gives to step $t-k$ (across): white is nothing.

# %%
segment, window, randomized = tb.Segment(6), tb.Window(6), tb.Randomized(5 / 6)
figure = tb.plot_reach(segment, window, randomized, length=T, key=jax.random.key(1))

# %% [markdown]
# ## What they cost
#
# Truncation is biased: it leaves out the far lags. Randomized truncation is not, and pays with variance. Both are known
# exactly here.

# %%
model = tb.model(
    init=lambda key: jnp.asarray(w),
    initial_state=lambda w, batch: jnp.zeros((batch, 1)),
    step=lambda w, h, x: w * h + x,
    readout=lambda w, h: h[:, 0],
    losses=lambda output, target: 0.5 * (output - target) ** 2,
)
batch = tb.Batch(xs[:, None, None], jnp.ones((T, 1)), jnp.zeros((T, 1)).at[-1].set(1.0))
full = jax.grad(tb.loss, 1)(model, jnp.asarray(w), batch)
for est in (segment, window, randomized):
    mean = tb.exact.expected_gradient(est, model, jnp.asarray(w), batch)
    variance = tb.exact.variance(est, model, jnp.asarray(w), batch)
    print(f"{est!s:32} mean {mean:8.4f}  of {full:8.4f}   standard deviation {np.sqrt(variance):.4f}")
assert np.isclose(tb.exact.expected_gradient(randomized, model, jnp.asarray(w), batch), full)
