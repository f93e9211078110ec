"""Programs with loops that know nothing of truncation; each takes the scan that it is to use."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

T, B, H = 6, 3, 4
KEYS = jax.random.split(jax.random.key(0), 4)
PARAMS = {"w": jax.random.normal(KEYS[0], (H, H)), "u": 0.3 * jax.random.normal(KEYS[3], (H,))}
XS = jax.random.normal(KEYS[1], (T, B, H))
GATES = 2 * jax.random.uniform(KEYS[2], (T,))


def step(p, h, x):
    h = jnp.tanh(h @ p["w"].T + x * p["u"])
    return h, h


def one(scan):
    return lambda p: jnp.sum(jnp.sin(3 * scan(partial(step, p), jnp.ones((B, H)), XS)[1])) + jnp.sum(p["w"] ** 2)


def two_in_a_row(scan):
    def f(p):
        _, hs = scan(partial(step, p), jnp.zeros((B, H)), XS)
        (_, c), _ = scan(lambda s, h: ((jnp.tanh(s[0] * p["u"] + h), s[1] + jnp.sum(s[0])), None), (hs[0], 0.0), hs)
        return c

    return f


def in_jit(scan):
    return lambda p: jax.jit(lambda p: jax.jit(one(scan))(p) * 2)(p)


def in_remat(scan):
    return lambda p: jax.checkpoint(one(scan), policy=jax.checkpoint_policies.dots_saveable)(p)


def in_cond(scan):
    return lambda p: lax.cond(p["u"][0] > -10, one(scan), lambda p: jnp.sum(p["w"]), p)


def in_switch(scan):
    return lambda p: lax.switch(jnp.argmax(p["u"][:2]) * 0 + 1, [two_in_a_row(scan), one(scan)], p)


def over_a_batch(scan):
    def f(p):
        return jnp.sum(jax.vmap(lambda x: scan(partial(step, p), jnp.ones(H), x)[0], in_axes=1)(XS) ** 2)

    return f


def around_a_scan(scan):
    """Outermost; the scan in its body is whole."""

    def f(p):
        def outer(h, x):
            h, ys = lax.scan(partial(step, p), h, jnp.stack([x, 2 * x]))
            return h, jnp.sum(ys)

        return jnp.sum(scan(outer, jnp.ones((B, H)), XS)[1])

    return f


def within_a_map(scan):
    return lambda p: jnp.sum(lax.map(lambda c: one(scan)(jax.tree.map(lambda a: a * c, p)), jnp.asarray([0.5, 1.0])))


def in_reverse(scan):
    return lambda p: jnp.sum(scan(partial(step, p), jnp.ones((B, H)), XS, reverse=True)[1] ** 2)


def unrolled(scan):
    return lambda p: jnp.sum(scan(partial(step, p), jnp.ones((B, H)), XS, unroll=2)[1] ** 2)


def carrying_all_sorts(scan):
    def f(p):
        def body(state, x):
            key, noise = jax.random.split(state["key"])
            h = step(p, state["h"], x)[0] + 0.1 * jax.random.normal(noise, (B, H))
            return {"key": key, "h": h, "count": state["count"] + 1, "late": state["count"] > 2}, h * state["count"]

        start = {"key": jax.random.key(0), "h": jnp.ones((B, H)), "count": jnp.array(0), "late": jnp.array(False)}
        return jnp.sum(scan(body, start, XS)[1])

    return f


def a_branch_and_a_remat_in_the_step(scan):
    def f(p):
        def body(h, x):
            h = jax.checkpoint(lambda h: step(p, h, x)[0])(h)
            return lax.cond(jnp.sum(h) > 0, lambda h: h * p["u"], lambda h: h, h), jnp.sum(h**2)

        return jnp.sum(scan(body, jnp.ones((B, H)), XS)[1])

    return f


def masked_lengths(scan):
    def f(p):
        lengths = jnp.asarray([6, 4, 2])

        def body(h, now):
            t, x = now
            new = jnp.where((t < lengths)[:, None], step(p, h, x)[0], h)
            return new, jnp.sum(jnp.where((t < lengths)[:, None], new, 0) ** 2)

        return jnp.sum(scan(body, jnp.ones((B, H)), (jnp.arange(T), XS))[1])

    return f


def with_a_custom_derivative_beside(scan):
    return lambda p: one(scan)(p) + jnp.sum(jax.nn.relu(p["w"])) + jax.scipy.special.logsumexp(p["u"])


def a_state_that_is_learned(scan):
    return lambda p: jnp.sum(scan(partial(step, p), p["u"] * jnp.ones((B, H)), XS)[0] ** 2)


def no_inputs(scan):
    return lambda p: jnp.sum(scan(lambda h, _: step(p, h, 1.0), jnp.ones((B, H)), None, length=T)[1] ** 2)


def a_key_in_every_step(scan):
    """Units that are silent at random."""

    def f(p):
        def body(h, now):
            x, key = now
            return step(p, h * jax.random.bernoulli(key, 0.8, h.shape), x)

        return jnp.sum(scan(body, jnp.ones((B, H)), (XS, jax.random.split(KEYS[0], T)))[1] ** 2)

    return f


def a_key_that_is_carried(scan):
    def f(p):
        def body(state, x):
            h, key = state
            key, now = jax.random.split(key)
            h, y = step(p, h + 0.1 * jax.random.normal(now, h.shape), x)
            return (h, key), y

        return jnp.sum(scan(body, (jnp.ones((B, H)), KEYS[0]), XS)[1] ** 2)

    return f


def two_layers_in_one_loop(scan):
    def f(p):
        def body(state, x):
            low, _ = step(p, state[0], x)
            high, y = step(p, state[1], low)
            return (low, high), y

        return jnp.sum(scan(body, (jnp.zeros((B, H)), jnp.ones((B, H))), XS)[1] ** 2)

    return f


def attention_over_all_states(scan):
    def f(p):
        last, hs = scan(partial(step, p), jnp.ones((B, H)), XS)
        looked_at = jax.nn.softmax(jnp.einsum("bh,tbh->tb", last, hs), axis=0)
        return jnp.sum(jnp.einsum("tb,tbh->bh", looked_at, hs) ** 2)

    return f


def half_precision(scan):
    """bfloat16 weights and state, a float32 loss."""

    def f(p):
        low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), p)
        hs = scan(partial(step, low), jnp.ones((B, H), jnp.bfloat16), XS.astype(jnp.bfloat16))[1]
        return jnp.sum(hs.astype(jnp.float32) ** 2)

    return f


PROGRAMS = [
    *(one, two_in_a_row, in_jit, in_remat, in_cond, in_switch, over_a_batch, around_a_scan, within_a_map, in_reverse),
    *(unrolled, carrying_all_sorts, a_branch_and_a_remat_in_the_step, masked_lengths, with_a_custom_derivative_beside),
    *(a_state_that_is_learned, no_inputs, half_precision, a_key_in_every_step, a_key_that_is_carried),
    *(two_layers_in_one_loop, attention_over_all_states),
]
AT_ONCE = [
    *(one, in_cond, over_a_batch, in_reverse, half_precision, a_key_in_every_step, masked_lengths),
]
"""Those of `PROGRAMS` that differ most; nested loops, transformations and kinds of state are tested apart besides."""
