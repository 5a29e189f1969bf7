from tests.distribution.jax_problem import *  # noqa
