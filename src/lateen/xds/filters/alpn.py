"""What a detected port's requests offer to the server: its own version of HTTP, so that the server's chain for requests takes them. Called by `order`.

Envoy: filter state `envoy.network.application_protocols` overrides a transport socket's ALPN; each chain has a constant, so nothing is computed per request.
"""

from lateen.plan.listener import Http
from lateen.wire.pb.envoy.config.core.v3 import substitution_format_string_pb2 as formats
from lateen.wire.pb.envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from lateen.wire.pb.envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2


def offered_protocol(http: Http) -> list[set_filter_state_pb2.Config]:
    """The filter's message; none where the cluster's own ALPN holds."""
    if not http.alpn:
        return []
    text = formats.SubstitutionFormatString()
    text.text_format_source.inline_string = http.alpn
    value = value_pb2.FilterStateValue(
        object_key="envoy.network.application_protocols",
        format_string=text,
        shared_with_upstream=value_pb2.FilterStateValue.ONCE,
    )
    return [set_filter_state_pb2.Config(on_request_headers=[value])]
