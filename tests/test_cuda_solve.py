"""The solver on a device gives what it gives on the CPU, to rounding."""

import numpy as np
import pytest

from sparsenum import ot

pytestmark = pytest.mark.usefixtures("cuda")


def problem(n=13, m=9):
    rng = np.random.default_rng(0)
    return rng.random((n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


@pytest.mark.parametrize("reg", [0.5, 0.02])
@pytest.mark.parametrize("method", ["auto", "sns-paper", "sinkhorn"])
def test_the_result_is_that_of_the_cpu(method, reg):
    options = {"method": method, "tol": 1e-12 if reg == 0.02 and method != "sinkhorn" else 1e-11}
    here = ot.solve(*problem(), reg, **options)
    there = ot.solve(*problem(), reg, device="cuda", **options)
    assert there.status == here.status == "converged"
    np.testing.assert_allclose(there.plan, here.plan, atol=1e-10)
    np.testing.assert_allclose(there.potentials[0], here.potentials[0], atol=1e-10)
    np.testing.assert_allclose(there.value, here.value, atol=1e-10)
