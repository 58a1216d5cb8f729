"""Delta framing against protobuf itself: what we join, Envoy's own message reads, and the other way round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.wire.delta import (
    DeltaRequest,
    MalformedMessage,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    resource_fragment,
)
from lateen.wire.pb.envoy.config.core.v3 import base_pb2
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2

TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
text = st.text(max_size=40)
resources = st.lists(st.tuples(text, text, st.binary(max_size=300)), max_size=5)


@given(resources, st.lists(text, max_size=4), text)
def test_a_joined_response_is_the_message(entries, removed, nonce):
    raw = encode_response(TYPE, nonce, [resource_fragment(n, v, TYPE, b) for n, v, b in entries], removed)
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
    assert message.type_url == TYPE
    assert message.nonce == nonce
    assert list(message.removed_resources) == removed
    assert [(r.name, r.version, r.resource.value) for r in message.resources] == entries


@given(resources, st.lists(text, max_size=4), text)
def test_a_response_of_protobuf_is_taken_apart_and_its_fragments_join_again(entries, removed, nonce):
    message = discovery_pb2.DeltaDiscoveryResponse(type_url=TYPE, nonce=nonce, removed_resources=removed, system_version_info="x")
    for name, version, body in entries:
        resource = message.resources.add(name=name, version=version, aliases=["a"])
        resource.resource.type_url, resource.resource.value = TYPE, body
        resource.ttl.FromSeconds(5)
    decoded = decode_response(message.SerializeToString())
    assert (decoded.type_url, decoded.nonce, decoded.removed) == (TYPE, nonce, tuple(removed))
    assert [(r.name, r.version, r.body, r.type_url) for r in decoded.resources] == [(*entry, TYPE) for entry in entries]
    again = discovery_pb2.DeltaDiscoveryResponse.FromString(encode_response(TYPE, nonce, [r.fragment for r in decoded.resources]))
    assert again.resources == message.resources


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(raw):
    for decode in (decode_response, decode_request):
        try:
            decode(raw)
        except MalformedMessage:
            pass


def test_requests_round_trip():
    node = base_pb2.Node(id="sidecar~10.0.0.1~a.b~b.svc.cluster.local").SerializeToString()
    request = DeltaRequest(TYPE, "7", ("a",), ("b",), {"c": "1"}, "bad cluster", node)
    assert decode_request(encode_request(request)) == request
    assert decode_request(encode_request(DeltaRequest(TYPE))) == DeltaRequest(TYPE)


def test_truncated_is_malformed():
    raw = encode_response(TYPE, "1", [resource_fragment("a", "1", TYPE, b"x" * 500)])
    with pytest.raises(MalformedMessage):
        decode_response(raw[:100])
