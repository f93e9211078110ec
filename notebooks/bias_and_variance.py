# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Bias and variance, on your laptop
#
# A small recurrent network repeats what it saw five steps ago. How far is each estimate from the gradient, and why?

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import tbptt_jax as tb

LENGTH, DELAY = 32, 5
model = tb.rnn("tanh", inputs=4, hidden=8, outputs=4, radius=1.0)
params = model.init(jax.random.key(0))
symbols = jax.random.randint(jax.random.key(1), (LENGTH, 8), 0, 4)
weights = jnp.broadcast_to(jnp.arange(LENGTH)[:, None] >= DELAY, symbols.shape).astype(float)
batch = tb.Batch(jax.nn.one_hot(symbols, 4), jnp.roll(symbols, DELAY, axis=0), weights)

# %% [markdown]
# ## The gradient is a sum over lags
#
# One backward pass gives every lag's part, and with it the bias of every truncation.

# %%
spectrum = tb.exact.lag_spectrum(model, params, batch)
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.bar(np.arange(len(spectrum.norms)), spectrum.norms, color="#0072B2")
axes.set(xlabel="lag (steps)", ylabel="norm of its part of the gradient")
figure = tb.plot_bias(model, params, batch)

# %% [markdown]
# ## Unbiased, and noisy
#
# Randomized truncation keeps a step's credit with probability 1 − 1/τ. Bias² and variance are exact, and their sum is
# the mean squared error of an estimate from these 8 sequences. More of them divide the variance, and not the bias:
# `tb.exact.break_even` says from how many on unbiased truncation is the better one.

# %%
exact = jax.grad(tb.loss, 1)(model, params, batch)
norm = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(exact))


def squared_bias(est):
    mean = tb.exact.expected_gradient(est, model, params, batch)
    return sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(mean), jax.tree.leaves(exact))) / norm


taus = [2, 4, 8, 16]
bias = [float(squared_bias(tb.Segment(tau))) for tau in taus]
variance = [float(tb.exact.variance(tb.Randomized(1 - 1 / tau), model, params, batch) / norm) for tau in taus]
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(taus, bias, "s-", color="#0072B2", label="bias² of segments")
axes.plot(taus, variance, "o-", color="#D55E00", label="variance of randomized truncation")
axes.set(xlabel="(expected) length τ", ylabel="relative to ‖g‖²", xscale="log", yscale="log", xticks=taus)
axes.set_xticks(taus, labels=[str(tau) for tau in taus])
axes.minorticks_off()
axes.legend(frameon=False)
for tau, b, v in zip(taus, bias, variance):
    print(f"τ = {tau:2}   bias² of segments {b:8.5f}   variance of randomized {v:8.5f}")
assert squared_bias(tb.Randomized(0.5)) < 1e-10 < bias[0]

# %% [markdown]
# ## The same by sampling
#
# What has no closed form is sampled, with intervals: here both, and they agree.

# %%
sampled = tb.measure(tb.Randomized(0.75), model, params, batch, jax.random.key(2), samples=512)
print(sampled)
low, high = sampled.variance[1:]
assert low / 1.5 < variance[1] * norm < high * 1.5
