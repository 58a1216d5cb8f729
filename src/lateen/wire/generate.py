"""Generates Envoy's messages from the descriptors inside the Envoy binary itself, so that they match it exactly.

Called by the build hook (`hatch_build.py`); not used at run time. The result is the package `lateen.wire.pb`: protoc's Python and stubs, rewritten to
import each other below that package and to register in a descriptor pool of their own, so that nothing top-level is installed and no other library's
messages can clash with ours.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NAME = re.compile(rb"\n[\x05-\x7f]((?:envoy|xds|udpa|validate|google|opencensus|opentelemetry|contrib|io|cel)/[\w/.\-]+\.proto)\x12")
"""The head of an embedded FileDescriptorProto: field 1 (name) with its length, then field 2 (package)."""
_LENGTH_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 12})
_NUMBER_FIELDS = frozenset({10, 11, 14})
_LARGEST_FIELD_BYTES = 400_000
PACKAGE = "lateen.wire.pb"


def carve(binary: bytes) -> dict[str, bytes]:
    """File name → serialized FileDescriptorProto, for every one embedded in `binary`. Empty if there is none."""
    from google.protobuf import descriptor_pb2, message

    found: dict[str, bytes] = {}
    for match in _NAME.finditer(binary):
        if binary[match.start() + 1] != len(match.group(1)):
            continue
        data = binary[match.start() : _end(binary, match.start())]
        for cut in range(4):  # the byte after a descriptor can look like one more empty field
            candidate = data[: len(data) - cut]
            try:
                found[descriptor_pb2.FileDescriptorProto.FromString(candidate).name] = candidate
            except message.DecodeError:
                continue
            break
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if not byte & 128:
            return value, at
        shift += 7


def _end(data: bytes, start: int) -> int:
    """Where the message that starts at `start` stops being a FileDescriptorProto."""
    at = start
    while at < len(data):
        tag, after = _varint(data, at)
        field, kind = tag >> 3, tag & 7
        if field == 1 and at != start:
            return at
        if kind == 2 and field in _LENGTH_FIELDS:
            length, after = _varint(data, after)
            if length > _LARGEST_FIELD_BYTES:
                return at
            at = after + length
        elif kind == 0 and field in _NUMBER_FIELDS:
            _, at = _varint(data, after)
        else:
            return at
    return at


def generate(envoy: Path, target: Path) -> int:
    """Writes the package below `target` (its folder `pb`) and returns the number of files. Raises RuntimeError with protoc's reason."""
    from google.protobuf import descriptor_pb2

    files = carve(envoy.read_bytes())
    if not files:
        raise RuntimeError(f"no message descriptors inside {envoy}")
    parsed = [descriptor_pb2.FileDescriptorProto.FromString(data) for data in files.values()]
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "envoy.binpb"
        descriptors.write_bytes(descriptor_pb2.FileDescriptorSet(file=parsed).SerializeToString())
        out = Path(scratch) / "out"
        out.mkdir()
        _protoc(descriptors, out, sorted(files))
        roots = sorted({path.name.removesuffix("_pb2.py") for path in out.iterdir()})
        for source in sorted(out.rglob("*_pb2.py*")):
            place = target / source.relative_to(out)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(_private(source.read_text(), roots))
    _packages(target)
    return len(files)


def _protoc(descriptors: Path, out: Path, names: list[str]) -> None:
    from grpc_tools import protoc

    code = protoc.main(["protoc", f"--descriptor_set_in={descriptors}", f"--python_out={out}", f"--pyi_out={out}", *names])
    if code:
        raise RuntimeError(f"protoc failed: {code}")


def _private(text: str, roots: list[str]) -> str:
    """The generated module with its imports below our package and its descriptors in our pool."""
    heads = "|".join(map(re.escape, roots))
    ours = "descriptor|descriptor_pool|symbol_database|runtime_version|message|builder|containers|enum_type_wrapper|well_known_types|python_message"
    keep = rf"(?!google\.protobuf(?:\.internal)? import (?:{ours})\b)"
    text = re.sub(rf"^from {keep}((?:{heads})[\w.]*) import", rf"from {PACKAGE}.\1 import", text, flags=re.M)
    text = re.sub(
        r"^from google\.protobuf import descriptor_pool as _descriptor_pool$",
        f"from {PACKAGE} import pool as _descriptor_pool",
        text,
        flags=re.M,
    )
    return re.sub(r"^_sym_db = .*$", "", text, flags=re.M)


def _packages(target: Path) -> None:
    doc = '"""Envoy\'s messages, generated from the descriptors inside the pinned Envoy binary. Do not edit: `lateen.wire.generate` writes them."""\n'
    for folder in _folders(target):
        (folder / "__init__.py").write_text(doc)
    (target / "pool.py").write_text(
        '"""The descriptor pool of these messages alone."""\n\nfrom google.protobuf.descriptor_pool import DescriptorPool\n\n_POOL = DescriptorPool()\n\n\n'
        'def Default() -> DescriptorPool:\n    """The pool, under the name that generated code calls."""\n    return _POOL\n'
    )
    (target / "py.typed").write_text("")


def _folders(target: Path) -> Iterator[Path]:
    yield target
    yield from (path for path in target.rglob("*") if path.is_dir() and path.name != "__pycache__")


if __name__ == "__main__":
    print(generate(Path(sys.argv[1]), Path(sys.argv[2])), "files")
