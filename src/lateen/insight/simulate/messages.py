"""Envoy messages as the simulator reads them: packed messages unpacked by type, and protojson with the proto's own field names.

Called by the files beside this one. Knows no meaning of any message.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

from lateen.wire.pb import pool
from lateen.wire.pb.google.protobuf import any_pb2

Json = Any  # protojson: the caller knows the message and so the shape.


class UnknownMessage(Exception):
    """A packed message of a type this Envoy does not have. `type_url`: as given."""

    def __init__(self, type_url: str) -> None:
        super().__init__(f"no message of type: {type_url}")
        self.type_url = type_url


@cache
def message_class(type_url: str) -> type[Message]:
    """The class for a type URL, its module imported as needed. Raises UnknownMessage."""
    name = type_url.rpartition("/")[2]
    package = name.rpartition(".")[0]
    try:
        modules = importlib.import_module(f"lateen.wire.pb.{package}")
    except ImportError as error:
        raise UnknownMessage(type_url) from error
    for module in pkgutil.iter_modules(modules.__path__):
        importlib.import_module(f"{modules.__name__}.{module.name}")
    try:
        return message_factory.GetMessageClass(pool.Default().FindMessageTypeByName(name))
    except KeyError as error:
        raise UnknownMessage(type_url) from error


def unpacked(packed: any_pb2.Any) -> Message:
    """The message inside an Any. Raises UnknownMessage."""
    return message_class(packed.type_url).FromString(packed.value)


def protojson(message: Message) -> dict[str, Json]:
    """The message as protojson with the proto's own names (snake_case); packed messages are entered. Raises UnknownMessage."""
    import_packed(message)
    plain: dict[str, Json] = _plain(json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=pool.Default()))
    return plain


def import_packed(message: Message) -> None:
    """Makes the types of all packed messages below `message` known, which protojson needs. Raises UnknownMessage."""
    if isinstance(message, any_pb2.Any):
        if message.type_url:
            import_packed(unpacked(message))
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if not field.is_repeated:
            import_packed(value)
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for item in value.values():
                    import_packed(item)
        else:
            for item in value:
                import_packed(item)


def _plain(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
