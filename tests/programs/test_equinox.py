"""Equinox models that ask themselves what they are: whether dropout is on is a flag among their leaves."""

import jax
import jax.numpy as jnp
import pytest

import tbptt_jax as tb
from tests.problems import distance

eqx = pytest.importorskip("equinox", reason="the extra `ecosystem` is not installed")


class Net(eqx.Module):
    cell: eqx.nn.GRUCell
    drop: eqx.nn.Dropout

    def __call__(self, xs, key):
        hs = jax.lax.scan(lambda h, x: (self.cell(x, h),) * 2, jnp.zeros(4), xs)[1]
        return self.drop(hs, key=key)


def loss(net, xs, key):
    return jnp.sum(net(xs, key) ** 2)


@pytest.mark.parametrize("calm", [False, True])
def test_dropout_is_on_or_off_as_the_model_says(calm):
    net = eqx.nn.inference_mode(Net(eqx.nn.GRUCell(3, 4, key=jax.random.key(0)), eqx.nn.Dropout(0.5)), calm)
    xs, key = jax.random.normal(jax.random.key(1), (6, 3)), jax.random.key(2)
    whole, cut = (eqx.filter_grad(tb.truncate(loss, est))(net, xs, key) for est in (tb.Full(), tb.Segment(2)))
    exact = eqx.filter_grad(loss)(net, xs, key)
    assert distance(*(eqx.filter(grads, eqx.is_array) for grads in (whole, exact))) < 1e-12
    assert distance(*(eqx.filter(grads, eqx.is_array) for grads in (cut, exact))) > 1e-6
