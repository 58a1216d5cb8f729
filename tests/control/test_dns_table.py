"""Whose names are whose: what the node's DNS is told."""

from lateen.config.decode import decode, ref_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.control.dns_table import dns_table
from lateen.incremental import Db
from lateen.node.names import Unknown, names

ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: [{host}], exportTo: [{export}], addresses: [{address}], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: NONE}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: a, annotations: {networking.istio.io/exportTo: "~"}}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
"""


def test_names_are_known_where_they_are_exported_to():
    text = SERVICE + "".join(
        ENTRY.format(name=name, namespace=namespace, host=host, export=export, address=address)
        for name, namespace, host, export, address in (
            ("all", "a", "all.example", '"*"', "192.0.2.1"),
            ("own", "a", "own.example", '"."', "192.0.2.2"),
            ("own", "b", "own.example", '"."', "192.0.2.3"),
            ("two", "a", "two.example", '".", "b"', "192.0.2.4"),
            ("none", "a", "none.example", '"~"', "192.0.2.5"),
        )
    )
    db = Db()
    MESH_CONFIG.set(db, "mesh", MeshConfig())
    for item in decode(text, "in.yaml").objects:
        OBJECTS.set(db, ref_of(item), item)
    known = names(dns_table(db).as_json()["spec"])

    def seen(host):
        return tuple(known.answer(host, namespace) for namespace in ("a", "b", "c"))

    no = Unknown.NOT_OURS
    assert seen("all.example") == (("192.0.2.1",),) * 3
    assert seen("own.example") == (("192.0.2.2",), ("192.0.2.3",), no)
    assert seen("two.example") == (("192.0.2.4",), ("192.0.2.4",), no)
    assert seen("none.example") == (no, no, no)
    assert seen("web.a") == (("10.96.0.1",),) * 3, "a Service's name is everybody's, as on a cluster"
