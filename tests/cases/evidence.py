"""Which fields of the API change what proxies get: each field of each object of a case is changed, and the emitted bytes are compared.

`evidence(folders)` is what tests and `tools/support.py` ask. A case is a folder with `in.yaml` and, for one proxy, `proxy.json`; without it, every Pod of the case looks.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from lateen.base.names import INBOUND_PORT, OUTBOUND_PORT
from lateen.config.decode import decode, ref_of
from lateen.config.defaults import mesh_config_of, with_defaults
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.istio.workload_entry import WorkloadGroup
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Duration, Map
from lateen.config.registry import KINDS
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.config.support import MESH, Support, statuses
from lateen.control.agents import asked_of_members
from lateen.control.injection import injected
from lateen.incremental import Db
from lateen.insight.simulate.case import MESH_CONFIG_MAP, read_case
from lateen.local.workloads import BadWorkload, template_pod, workload
from lateen.mesh.model import Locality, label_pairs
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.sources.plain import as_json
from lateen.sources.registration import Registrant, registered_entries
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names

LOCALITIES = {"n1": Locality("r1", "z1"), "n2": Locality("r2", "z2")}
"""Of the nodes that every case here has."""
Change = Callable[[Any], Any]
OTHER_WORDS = {"CONNECT": "POST", "creds": "others", "TLSV1_2": "TLSV1_3"}
"""Words of a closed list that no type has."""
MOST_PLACES = 6
"""How many places of one field are tried in a case before it counts as without effect there."""


class Case:
    """A mesh and those who look at it. `emitted()`: every byte they all get."""

    def __init__(self, folder: Path) -> None:
        self.db = Db()
        if (folder / "proxy.json").exists():
            case = read_case(folder)
            self.objects, self.proxies = list(case.objects), [case.proxy]
        else:
            decoded = decode((folder / "in.yaml").read_text(), str(folder))
            assert not decoded.findings, [str(one) for one in decoded.findings]
            self.objects = [with_defaults(one) for one in decoded.objects]
            self.proxies = [proxy_of(one) for one in self.objects if isinstance(one, Pod)]
        written = next((one for one in self.objects if isinstance(one, ConfigMap) and ref_of(one) == MESH_CONFIG_MAP), None)
        self.mesh, _ = mesh_config_of(written)
        MESH_CONFIG.set(self.db, "mesh", self.mesh)
        for one in self.objects:
            OBJECTS.set(self.db, ref_of(one), one)

    def emitted(self) -> dict[tuple[str, str, str], object]:
        """(proxy, type, name) → version; (pod, "", "") → what runs, without the names that hash everything; what agents beside a group's members are told."""
        found: dict[tuple[str, str, str], object] = {}
        self._register()
        for key in OBJECTS.keys(self.db, ("Pod",)):
            item = OBJECTS.at(self.db, key)
            source = workload(injected(self.db, item, as_json(item)))
            pod = template_pod(source, 0, {})
            found[f"{key}", "", ""] = (pod.spec, pod.metadata.labels, pod.metadata.annotations, pod.is_meshed, pod.is_gateway)
        for group in self._groups():
            found[f"agents of {group.name}", "", ""] = json.dumps(asked_of_members(group))
        for proxy in self.proxies:
            view = view_of(self.db, proxy)
            for type_ in ResourceType:
                for name in resource_names(self.db, view, type_):
                    made = resource(self.db, view, type_, name)
                    found[proxy.id, type_.value, name] = made.version if made else ""
        return found

    def _groups(self) -> list[WorkloadGroup]:
        return [one for key in sorted(OBJECTS.keys(self.db, ("WorkloadGroup",))) if isinstance(one := OBJECTS.at(self.db, key), WorkloadGroup)]

    def _register(self) -> None:
        """To each WorkloadGroup one workload has come, of service account `vm`; it has not said how it is."""
        groups = self._groups()
        come = [Registrant(one.namespace, one.name, f"10.9.0.{number}", service_account="vm") for number, one in enumerate(groups)]
        entries = {ref_of(one): one for one in registered_entries(dict.fromkeys(come), groups)}
        for one in come:
            if one.entry not in entries:
                OBJECTS.remove(self.db, one.entry)
        for ref, entry in entries.items():
            OBJECTS.set(self.db, ref, entry)


def proxy_of(pod: Pod) -> Proxy:
    """The proxy beside a pod; a gateway where the pod says so. Redirect rules are as at its start, before anybody changed the mesh."""
    is_router = pod.meta.labels.get("istio", "").endswith("gateway")
    addresses = tuple(one.ip for one in pod.status.pod_ips) if pod.status else ()
    return Proxy(
        type=ProxyType.ROUTER if is_router else ProxyType.SIDECAR,
        id=f"{pod.meta.name}.{pod.meta.namespace}",
        namespace=pod.meta.namespace,
        service_account=pod.spec.service_account_name or "default",
        labels=label_pairs(pod.meta.labels),
        addresses=addresses,
        dns_domain=f"{pod.meta.namespace}.svc.cluster.local",
        locality=LOCALITIES.get(pod.spec.node_name or "", Locality()),
        node_name=pod.spec.node_name or "",
        metadata=(("DNS_CAPTURE", "true"), ("INBOUND_LISTEN_PORT", str(INBOUND_PORT)), ("OUTBOUND_LISTEN_PORT", str(OUTBOUND_PORT))),
    )


@cache
def _hints(kind: type[Spec]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def changes(value: Spec, path: str = "") -> Iterator[tuple[str, Change]]:
    """(field path, a change of the value) for every set field, several changes for one field where one alone may do nothing."""
    hints = _hints(type(value))
    for item in msgspec.structs.fields(type(value)):
        inner = getattr(value, item.name)
        here = f"{path}.{item.encode_name}" if path else item.encode_name
        if item.name == "meta" or (inner == _default(item) and not isinstance(inner, Enum)):
            continue
        for other in (*_others(inner, hints[item.name]), *([] if item.required or inner == _default(item) else [_default(item)])):
            yield here, _replacing(item.name, other)
        yield from _inside(inner, here, item.name)


def _inside(inner: Any, here: str, name: str) -> Iterator[tuple[str, Change]]:
    if isinstance(inner, Spec):
        for path, change in changes(inner, here):
            yield path, _within(name, change)
    elif isinstance(inner, Map):
        for key, each in inner.items():
            if isinstance(each, Spec):
                for path, change in changes(each, f"{here}{{}}"):
                    yield path, _within(name, lambda whole, key=key, change=change: Map({**whole, key: change(whole[key])}))
    elif isinstance(inner, tuple):
        for index, each in enumerate(inner):
            if isinstance(each, Spec):
                for path, change in changes(each, f"{here}[]"):
                    yield path, _within(name, lambda whole, index=index, change=change: (*whole[:index], change(whole[index]), *whole[index + 1 :]))


def _replacing(name: str, other: Any) -> Change:
    return lambda value: msgspec.structs.replace(value, **{name: other})


def _within(name: str, change: Change) -> Change:
    return lambda value: msgspec.structs.replace(value, **{name: change(getattr(value, name))})


def _default(item: msgspec.structs.FieldInfo) -> Any:
    if item.default is not msgspec.NODEFAULT:
        return item.default
    return item.default_factory() if item.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT


def _others(value: Any, hint: Any) -> Iterator[Any]:
    """Other values of the same type."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, Enum):
        yield from (one for one in type(value) if one is not value)
    elif isinstance(value, Duration):
        yield Duration(float(value) + 7)
    elif isinstance(value, (int, float)):
        yield value + 1
    elif isinstance(value, str):
        yield from (one for one in _literals(hint) if one != value)
        yield OTHER_WORDS.get(value, value + "x")
    elif isinstance(value, tuple) and value and isinstance(value[0], str):
        yield (*value, f"{value[0]}x")
        yield tuple(f"{one}x" for one in value)
        yield value[:-1]
    elif isinstance(value, Map) and value:
        yield Map({f"{key}x": each for key, each in value.items()})


def _literals(hint: Any) -> Iterator[str]:
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            yield from _literals(one)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        yield from (one for one in hint)
    elif get_origin(hint) is not None and str(get_origin(hint)).endswith("Literal"):
        yield from get_args(hint)


def evidence(folders: Iterable[Path], kinds: frozenset[str], known: Iterable[tuple[str, str]] = ()) -> dict[tuple[str, str], str]:
    """(kind, field path) → the case that proves that the field has an effect. `known`: proven already, not tried again."""
    proven: dict[tuple[str, str], str] = dict.fromkeys(known, "")
    for folder in folders:
        tried: dict[tuple[str, str], int] = defaultdict(int)
        text = (folder / "in.yaml").read_text()
        if not any(f"kind: {kind}\n" in text for kind in kinds) and not (MESH in kinds and "name: istio\n" in text):
            continue
        case: Case | None = None
        before: dict[tuple[str, str, str], object] = {}
        for kind, path, apply, undo in _trials(case_ := Case(folder), kinds):
            key = (kind, same_type(kind, path))
            if key in proven or tried[key] >= 4 * MOST_PLACES:
                continue
            if case is None:
                case, before = case_, case_.emitted()
            tried[key] += 1
            if _differs(case, before, apply, undo):
                proven[key] = folder.name
    for (kind, path), name in list(proven.items()):  # what encloses a field that has an effect has one
        while "." in path:
            path = path.rpartition(".")[0]
            for enclosing in (path, path.removesuffix("[]").removesuffix("{}")):
                proven.setdefault((kind, enclosing), name)
    return {key: name for key, name in proven.items() if name}


def same_type(kind: str, path: str) -> str:
    """One name for the places of a pod that are of one type and go one way: all probes, all handlers, all containers."""
    if kind != "Pod":
        return path
    path = path.replace("initContainers[]", "containers[]")
    path = re.sub(r"(liveness|readiness|startup)Probe", "probe", path)
    return re.sub(r"lifecycle\.(postStart|preStop)\.|probe\.(?=exec|httpGet|tcpSocket|grpc|sleep)", "handler.", path)


def _trials(case: Case, kinds: frozenset[str]) -> Iterator[tuple[str, str, Callable[[], None], Callable[[], None]]]:
    for one in case.objects:
        if type(one).__name__ in kinds:
            for path, change in changes(one):
                yield type(one).__name__, path, _setter(case, one, change), _setter(case, one, lambda same: same)
    if MESH in kinds and any(ref_of(one) == MESH_CONFIG_MAP for one in case.objects):
        for path, change in changes(case.mesh):
            yield MESH, path, _mesh_setter(case, change), _mesh_setter(case, lambda same: same)


def _setter(case: Case, one: Object, change: Change) -> Callable[[], None]:
    return lambda: OBJECTS.set(case.db, ref_of(one), change(one))


def _mesh_setter(case: Case, change: Change) -> Callable[[], None]:
    def act() -> None:
        changed: MeshConfig = change(case.mesh)
        MESH_CONFIG.set(case.db, "mesh", changed)

    return act


def _differs(case: Case, before: dict[tuple[str, str, str], object], apply: Callable[[], None], undo: Callable[[], None]) -> bool:
    try:
        apply()
        return case.emitted() != before
    except (BadWorkload, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
        return False  # a value that validation would have refused
    finally:
        undo()


ROOT = Path(__file__).resolve().parent
FOLDERS = tuple(sorted(path.parent for path in (ROOT / "support").glob("*/in.yaml")))
"""The golden cases."""
SHOWN = {MESH: MeshConfig} | {
    kind.__name__: kind for kind in KINDS if kind.__module__.startswith("lateen.config.kinds.istio") or kind.__name__ in ("Pod", "Service")
}
"""The kinds that docs/support.md shows field by field."""
ELSEWHERE = {
    (MESH, "extensionProviders[].name"): "",  # names, which do nothing but name
    (MESH, "extensionProviders[].sds.name"): "",
}
"""Fields that no byte shows."""


def shown_statuses(name: str) -> dict[str, Support]:
    """Field path → status, for a kind of SHOWN, without what only a cluster writes (`status`)."""
    found = statuses(SHOWN[name])
    return {path: status for path, status in found.items() if path != "status" and not path.startswith(("status.", "status["))}


def unproven(proven: dict[tuple[str, str], str]) -> list[str]:
    """Fields that are said to work, and nothing shows it."""
    return [
        f"{name} {path}"
        for name in SHOWN
        for path, status in shown_statuses(name).items()
        if status is Support.WORKS and (name, same_type(name, path)) not in proven and (name, path) not in ELSEWHERE
    ]


if __name__ == "__main__":
    print("\n".join(unproven(evidence(FOLDERS, frozenset(SHOWN)))))
