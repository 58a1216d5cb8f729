"""Layers of objects: who wins, what a fact keeps, what is said to have changed."""

from lateen.config.decode import decode, ref_of
from lateen.sources.overlay import Overlay


def service(name: str, port: int):
    (item,) = decode(f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: x}}, spec: {{ports: [{{port: {port}}}]}}}}", "t").objects
    return item


A1, A2, A3, B1 = service("a", 1), service("a", 2), service("a", 3), service("b", 1)
A, B = ref_of(A1), ref_of(B1)


def test_the_first_layer_wins_and_the_next_takes_over():
    overlay = Overlay("files", "made up")
    overlay.change("made up", [A2, B1])
    assert set(overlay.take().upserts) == {A2, B1}
    overlay.change("files", [A1])
    assert overlay.take().upserts == (A1,)
    overlay.change("files", (), [A])
    assert overlay.take().upserts == (A2,)
    overlay.replace("made up", [A2])
    effect = overlay.take()
    assert (effect.upserts, effect.removed) == ((), (B,))
    overlay.replace("made up", [A2])
    assert overlay.take().is_empty


def test_a_fact_keeps_a_form_until_it_is_let_go():
    overlay = Overlay("files")
    overlay.change("files", [A1])
    overlay.take()
    overlay.keep(A, A1)
    overlay.change("files", [A2])
    assert overlay.take().is_empty
    assert overlay.written(A) == A2
    overlay.change("files", (), [A])
    assert overlay.take().is_empty
    overlay.change("files", [A3])
    overlay.let_go(A)
    assert overlay.take().upserts == (A3,)
    overlay.keep(A, None)
    assert overlay.take().removed == (A,)
