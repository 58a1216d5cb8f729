"""Load assignments as a client will use them: the IR of EDS, and of the endpoints inside clusters. Made by `load_assignments`, emitted by `xds.endpoints`."""

from dataclasses import dataclass

from lateen.mesh.model import Health, Locality


@dataclass(frozen=True)
class Host:
    """One endpoint. `address`: IP, host name, or `unix:///path` with port 0. `has_mesh_tls`: spoken to with mesh TLS."""

    address: str
    port: int
    weight: int
    health: Health = Health.HEALTHY
    has_mesh_tls: bool = False


@dataclass(frozen=True)
class Group:
    """The endpoints of one locality and priority. `weight`: the locality's."""

    locality: Locality
    priority: int
    weight: int
    hosts: tuple[Host, ...]


@dataclass(frozen=True)
class Assignment:
    """All endpoints of a cluster, as one kind of client gets them; priorities count from 0 without a gap."""

    cluster: str
    groups: tuple[Group, ...] = ()

    @property
    def is_empty(self) -> bool:
        """There is no endpoint."""
        return not any(group.hosts for group in self.groups)
