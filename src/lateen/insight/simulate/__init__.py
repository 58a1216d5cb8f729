"""What a proxy would do with a call, from the serialized resources it gets and nothing else.

`evaluate` answers one call; `case` loads a case folder; `answer` writes a case's answers. Only `case` reads the configuration; the evaluator has no access to
plan or mesh, so that its answers are evidence about the bytes and not about our intent. `tests/conformance/test_real_envoy.py` holds it to the real Envoy.
"""
