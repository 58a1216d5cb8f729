"""Meshes of any size as YAML, for the benchmarks."""

SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: svc{i}, namespace: {namespace}}}
spec: {{clusterIP: 10.{hundreds}.{units}.1, selector: {{app: svc{i}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: svc{i}-a, namespace: {namespace}, labels: {{kubernetes.io/service-name: svc{i}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: [{endpoints}]
"""


def endpoint_slice(service: int, namespace: str, last: int) -> str:
    """A second slice of one service, of one endpoint whose address ends in `last`."""
    return (
        f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: svc{service}-b, namespace: {namespace}, "
        f"labels: {{kubernetes.io/service-name: svc{service}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080, protocol: TCP}}]\n"
        f"endpoints: [{{addresses: [10.255.0.{last}], conditions: {{ready: true}}}}]\n"
    )


def services(count: int, endpoints: int, namespaces: int) -> str:
    """`count` services with `endpoints` each, spread over `namespaces` namespaces `ns0`…"""
    parts = [f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: ns{i}}}\n" for i in range(namespaces)]
    for i in range(count):
        addresses = ", ".join(f"{{addresses: [10.{100 + i // 250}.{i % 250}.{k + 2}], conditions: {{ready: true}}}}" for k in range(endpoints))
        parts.append(SERVICE.format(i=i, namespace=f"ns{i % namespaces}", hundreds=50 + i // 250, units=i % 250, endpoints=addresses))
    return "".join(parts)
