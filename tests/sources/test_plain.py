"""Objects as JSON: what is decoded from it again is the same object."""

import json

import pytest

from lateen.config.decode import decode
from lateen.sources.plain import as_json

TEXTS = [
    """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x, namespace: booking, labels: {a: b}, creationTimestamp: "2024-01-02T03:04:05Z"}
spec:
  hosts: [x]
  http:
  - timeout: 3s
    route: [{destination: {host: x, port: {number: 80}}, weight: 0}]
    retries: {attempts: 0}
    match: [{uri: {prefix: /}, headers: {a: {exact: b}}, ignoreUriCase: true}]
""",
    """
apiVersion: apps/v1
kind: Deployment
metadata: {name: x, namespace: booking}
spec:
  replicas: 0
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec:
      containers: [{name: a, image: b, command: [sleep], env: [{name: A, value: ""}], volumeMounts: [{name: v, mountPath: /v}]}]
      volumes: [{name: v, emptyDir: {}}]
""",
    "{apiVersion: v1, kind: Secret, metadata: {name: x, namespace: y}, type: Opaque, data: {a: YQ==}}",
    "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: y}, spec: {clusterIP: None, ports: [{port: 80, targetPort: http}]}}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(text):
    (item,) = decode(text, "t").objects
    again = decode(json.dumps(as_json(item, reveals=True)), "t")
    assert again.findings == ()
    assert again.objects == (item,)


def test_defaults_are_left_out_and_messages_are_not():
    (item,) = decode(TEXTS[1], "t").objects
    plain = as_json(item)
    assert plain["spec"]["template"]["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert plain["spec"]["replicas"] == 0
    assert "minReadySeconds" not in plain["spec"]


def test_secrets_are_written_out_for_the_node_alone():
    (item,) = decode(TEXTS[2], "t").objects
    assert "YQ" not in json.dumps(as_json(item))
