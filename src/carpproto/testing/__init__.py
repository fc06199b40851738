"""Help for tests of whoever uses carpproto: a pytest plugin, strategies, frames, mutators.

`carpproto.testing.cluster` and `carpproto.testing.plugin` need pytest for the fixture only,
`carpproto.testing.strategies` needs Hypothesis (``pip install carpproto[testing]`` has both);
`carpproto.testing.golden` and `carpproto.testing.mutators` need nothing.
"""
