"""What is called exact multiplies matrices exactly, on any device."""

import jax
import pytest
from jax import lax

import tbptt_jax as tb
from tbptt_jax.jax_internals import jaxprs_in_params
from tests.problems import problem

EXACT = {
    "variance": lambda *at: tb.exact.variance(tb.Randomized(0.5), *at),
    "variance of artbp": lambda *at: tb.exact.variance(tb.ARTBP(3), *at),
    "expected_gradient": lambda *at: tb.exact.expected_gradient(tb.Segment(2, "random"), *at),
    "gate_variances": lambda *at: tb.exact.gate_variances(tb.Randomized(0.5), *at),
    "lag_spectrum": lambda *at: tb.exact.lag_spectrum(*at).gradients,
    "credit_norms": tb.exact.credit_norms,
    "optimal_keeps": lambda *at: tb.exact.optimal_keeps(*at, 0.5),
    "by_sequence": lambda *at: tb.exact.by_sequence(tb.Randomized(0.5), *at),
}


def products(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for inside in jaxprs_in_params(equation.params):
            yield from products(inside)


@pytest.mark.parametrize("name", EXACT)
def test_matrix_products_are_exact(name):
    model, params, batch = problem("tanh")
    jaxpr = jax.make_jaxpr(lambda params, batch: EXACT[name](model, params, batch))(params, batch).jaxpr
    found = list(products(jaxpr))
    assert found and set(found) == {(lax.Precision.HIGHEST, lax.Precision.HIGHEST)}


def test_others_are_as_the_user_chose():
    model, params, batch = problem("tanh")
    jaxpr = jax.make_jaxpr(lambda params: tb.gradient(tb.Full(), model, params, batch))(params).jaxpr
    assert set(products(jaxpr)) == {None}
