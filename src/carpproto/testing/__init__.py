"""Help for tests of whoever uses carpproto: pytest plugin, strategies, frames, mutators, fuzzer.

`carpproto.testing.cluster` and `carpproto.testing.plugin` need pytest for the fixture only,
`carpproto.testing.strategies` needs Hypothesis (``pip install carpproto[testing]`` has both);
`carpproto.testing.golden`, `carpproto.testing.mutators`, the fuzzer (`carpproto.testing.fuzzing`
and those named like it) and `carpproto.testing.audit` need nothing.
"""
