"""Typed configuration: messages packed into `google.protobuf.Any`, in one order of bytes. Called by everything in `xds`."""

from lateen.wire.pb.google.protobuf import any_pb2, duration_pb2


def packed(message: object) -> any_pb2.Any:
    """A message as Any. The message type's full name makes the URL; equal messages give equal bytes."""
    name = message.DESCRIPTOR.full_name  # type: ignore[attr-defined]  # every generated message has it
    return any_pb2.Any(type_url=f"type.googleapis.com/{name}", value=message.SerializeToString(deterministic=True))  # type: ignore[attr-defined]


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds as a Duration, exact to the nanosecond."""
    whole, nanos = divmod(round(seconds * 10**9), 10**9)
    return duration_pb2.Duration(seconds=whole, nanos=nanos)
