"""Puts the mesh beside a pod: its certificate, the relay of its configuration, redirection, names, and Envoy. Called by `runner`; the parts are `node`'s.

`MeshSides` holds what all pods of this machine share; it makes one `PodMeshSide` per pod.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from lateen.base.errors import LateenError
from lateen.base.spiffe import SpiffeId
from lateen.local import report
from lateen.local.isolation import launcher, records
from lateen.local.isolation.seam import OWN_FOLDER, Isolation, Launch, Mount, PodNetwork
from lateen.local.podspec import Pod
from lateen.local.users import PROXY_ID, User, of_container
from lateen.node import redirect, status
from lateen.node.bootstrap import ADMIN_SOCKET, ADS_SOCKET, BootstrapOptions
from lateen.node.certificates import CertificateKeeper, Sign
from lateen.node.disk import write_durably
from lateen.node.dns import DnsServer
from lateen.node.grpc_bootstrap import BOOTSTRAP, grpc_bootstrap
from lateen.node.hosts import write_hosts
from lateen.node.known import KnownGood
from lateen.node.pod import Interception, Locality, PodIdentity, ProxyType
from lateen.node.relay import Relay
from lateen.node.settings import settings_of
from lateen.node.sidecar import LOG, OUTPUT, Sidecar, SidecarOptions

_CERTIFICATE_WAIT_S = 20.0
"""Then the pod says that control gives none, and it is tried again."""
_PROXY_WAIT_S = 30.0
_LOOK_S = 0.25
_BEHIND_RETRY_S = 1.0
"""Between attempts at a proxy whose application runs already."""
_ADOPTION_S = 2.0
_OWNER = (PROXY_ID, PROXY_ID)
_log = structlog.get_logger("local.mesh_side")


class ProxyNotReady(LateenError):
    """The proxy cannot start, or has no configuration yet; the text says what is missing."""


@dataclass
class MeshSides:
    """What all pods share."""

    isolation: Isolation
    relay: Relay
    known: KnownGood
    sign: Sign
    dns: DnsServer
    trust_domain: str = "cluster.local"
    options: SidecarOptions = field(default_factory=SidecarOptions)
    caller: User | None = None
    """As whom applications run that say nothing else; they read their own certificates where no proxy does. None: the proxies' user."""
    sides: dict[str, "PodMeshSide"] = field(default_factory=dict)

    async def set_names(self, table: Mapping[str, Any]) -> None:
        """The mesh's names (the `spec` of a DnsTable) are now these, in every pod."""
        self.dns.set_table(table)
        for side in list(self.sides.values()):
            await asyncio.to_thread(side.write_hosts)

    def make(self, pod: Pod, network: PodNetwork, folder: Path, on_ready: Callable[[bool], None]) -> "PodMeshSide":
        """The mesh side of one pod. `folder`: the pod's."""
        return PodMeshSide(self, pod, network, folder, on_ready)


def identity(pod: Pod, network: PodNetwork) -> PodIdentity:
    """The pod as its proxy introduces it."""
    meta, owner = pod.metadata, ""
    if meta.owner_references:
        first = meta.owner_references[0]
        kind = {"ReplicaSet": "deployments"}.get(first.kind, f"{first.kind.lower()}s")
        owner = f"kubernetes://apis/{first.api_version}/namespaces/{meta.namespace}/{kind}/{report.workload_name(pod)}"
    mode = meta.annotations.get("sidecar.istio.io/interceptionMode") or settings_of(meta.annotations).interception
    return PodIdentity(
        namespace=meta.namespace,
        name=meta.name,
        service_account=pod.service_account,
        addresses=network.addresses,
        workload=report.workload_name(pod),
        labels=report.labels(pod),
        annotations=meta.annotations,
        proxy_type=ProxyType.ROUTER if pod.is_gateway else ProxyType.SIDECAR,
        interception=Interception.NONE if pod.is_gateway or mode == "NONE" else Interception.REDIRECT,
        locality=Locality(pod.place.region, pod.place.zone, pod.place.sub_zone),
        node_name=pod.place.node,
        owner=owner,
    )


class PodMeshSide:
    """One pod's; see `runner.MeshSide`. `start` may be called again after it failed, and goes on where it was."""

    def __init__(self, shared: MeshSides, pod: Pod, network: PodNetwork, folder: Path, on_ready: Callable[[bool], None]) -> None:
        self._shared = shared
        self._pod = pod
        self._network = network
        self._folder = folder
        self._proxy_folder = folder / "proxy"
        self._on_ready = on_ready
        self._identity = identity(pod, network)
        self._settings = settings_of(pod.metadata.annotations)
        user = of_container(pod, pod.spec.containers[0], shared.caller) if pod.is_proxyless and shared.caller else None
        self._owner = (user.uid, user.gid) if user else _OWNER
        self._keeper: CertificateKeeper | None = None
        self._sidecar: Sidecar | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_started_behind = False
        self._status: status.StatusServer | None = None
        self._status_port = status.port_of(pod.metadata.annotations, self._settings.status_port)

    async def start(self) -> None:
        """See `runner.MeshSide`. ProxyNotReady, OSError."""
        await self._start_names()
        if not self._pod.is_meshed:
            return
        if self._pod.has_proxy and not self._pod.is_gateway and not self._settings.holds_application:
            await self._start_capture()  # without a proxy a connection fails, it does not go past
            if not self._is_started_behind:
                self._is_started_behind = True
                self._tasks.append(asyncio.create_task(self._start_behind(), name=f"mesh side of {self._pod.key}"))
            return
        await self._start_identity()
        if self._pod.is_proxyless:
            await asyncio.to_thread(self._write_bootstrap)
            self._on_ready(True)
            return
        await self._start_capture()
        await self._start_proxy()

    async def _start_capture(self) -> None:
        if self._identity.interception is Interception.REDIRECT:
            plan = redirect.redirect_plan(self._pod.metadata.annotations, status_port=self._status_port)
            plan = replace(plan, outbound_port=self._settings.outbound_port, inbound_port=self._settings.inbound_port)
            await asyncio.to_thread(redirect.apply, str(self._network.netns), plan)

    async def _start_behind(self) -> None:
        """The proxy of an application that doesn't wait for it; what fails is tried again."""
        while True:
            try:
                await self._start_identity()
                await self._start_proxy()
                return
            except (LateenError, OSError) as error:
                _log.warning("the proxy is not ready, its application runs", pod=self._pod.key, reason=str(error))
                await asyncio.sleep(_BEHIND_RETRY_S)

    async def _start_names(self) -> None:
        is_captured = self._pod.has_proxy and self._identity.interception is Interception.REDIRECT
        await self._shared.dns.serve(self._pod.key, str(self._network.netns), self._pod.metadata.namespace, is_captured)
        self._shared.sides[self._pod.key] = self
        await asyncio.to_thread(self.write_hosts)

    def write_hosts(self) -> None:
        """Bring the mesh's names into the pod's hosts file."""
        try:
            write_hosts(self._folder / "etc", self._shared.dns.names, self._pod.metadata.namespace)
        except OSError as error:
            _log.error("the pod's hosts file is not renewed", pod=self._pod.key, reason=str(error))

    async def _start_identity(self) -> None:
        shared, who = self._shared, self._identity
        self._proxy_folder.mkdir(parents=True, exist_ok=True)
        await shared.relay.serve(self._pod.key, self._proxy_folder / ADS_SOCKET, self._owner)
        if self._keeper is None:
            spiffe = SpiffeId(shared.trust_domain, who.namespace, who.service_account)
            attributes = (("workload", who.workload), ("app", who.app), ("version", who.version))
            self._keeper = CertificateKeeper(self._proxy_folder, spiffe, attributes, shared.sign, self._owner)
            self._tasks.append(asyncio.create_task(self._keeper.run(), name=f"certificate of {self._pod.key}"))
        try:
            async with asyncio.timeout(_CERTIFICATE_WAIT_S):
                await self._keeper.ready()
        except TimeoutError:
            raise ProxyNotReady(f"no certificate yet: {self._keeper.state.problem or 'control does not answer'}") from None

    def _write_bootstrap(self) -> None:
        """What the application's gRPC library reads when it starts."""
        text = json.dumps(grpc_bootstrap(self._identity, self._shared.options.bootstrap), indent=2)
        write_durably(self._proxy_folder / BOOTSTRAP, text.encode(), 0o644)

    async def _start_proxy(self) -> None:
        if self._sidecar is None:
            shared = self._shared.options
            options = replace(shared, bootstrap=replace(shared.bootstrap, settings=self._settings))
            sidecar = Sidecar(self._identity, self._proxy_folder, self._spawn, options, _OWNER)
            earlier, is_adopted = records.read(self._folder / "proxy.json", dict), False
            if earlier is None:
                await sidecar.start()
            else:
                is_adopted = await sidecar.adopt(earlier)
            self._sidecar = sidecar
            self._link_outputs()
            await self._start_status(sidecar)
            self._tasks.append(asyncio.create_task(self._watch(sidecar, is_adopted), name=f"proxy of {self._pod.key}"))
        try:
            async with asyncio.timeout(_PROXY_WAIT_S):
                await self._sidecar.wait_ready()
        except TimeoutError:
            problem = self._sidecar.state()["problem"] or "it has no configuration from control"
            raise ProxyNotReady(f"the proxy is not ready: {problem}") from None

    async def _start_status(self, sidecar: Sidecar) -> None:
        """The pod's status port. An application that has the port keeps it."""
        if not self._status_port:
            return
        annotations, is_sidecar = self._pod.metadata.annotations, not self._pod.is_gateway
        is_merged = status.is_merged(annotations, self._settings.merges_metrics)
        scrape = status.scrape_of(annotations, self._status_port) if is_sidecar and is_merged else None
        subject = status.Subject(self._pod.key, str(self._network.netns), self._status_port, sidecar.ready, sidecar.admin, scrape)
        self._status = status.StatusServer(subject)
        try:
            await self._status.start()
        except OSError as error:
            _log.warning("the pod's status is not told", pod=self._pod.key, port=self._status_port, reason=str(error))

    def _link_outputs(self) -> None:
        """The names by which the command line knows the proxy's files."""
        for name in (ADMIN_SOCKET, OUTPUT, LOG):
            link = self._folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(f"proxy/{name}")

    async def _spawn(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path, log: Path) -> int:
        launch = Launch(
            argv=tuple(argv),
            env=dict(env),
            log=log,
            output=output,
            uid=PROXY_ID,
            gid=PROXY_ID,
            cwd=OWN_FOLDER,
            mounts=(Mount(OWN_FOLDER, cwd),),
            hostname=self._pod.spec.hostname or self._pod.metadata.name,
            is_ours=True,
            capabilities=(launcher.CAP_NET_ADMIN,),
        )
        process = await asyncio.to_thread(self._shared.isolation.spawn, self._network, launch)
        return process.pid

    async def _watch(self, sidecar: Sidecar, is_adopted: bool) -> None:
        """Tell of the proxy's readiness, and keep its record for the next daemon."""
        if is_adopted:  # it was ready a moment ago: nobody shall stop choosing it because a node has changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ADOPTION_S):
                    await sidecar.wait_ready()
        recorded: dict[str, Any] = {}
        while True:
            state, is_ready = sidecar.state(), sidecar.ready()
            if state != recorded:
                recorded = state
                try:
                    await asyncio.to_thread(records.write, self._folder / "proxy.json", state)
                except OSError as error:
                    _log.error("cannot record the proxy", pod=self._pod.key, error=str(error))
                self._on_ready(is_ready)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await (asyncio.sleep(_LOOK_S) if is_ready else sidecar.wait_ready())

    async def drain(self) -> None:
        """See `runner.MeshSide`."""
        if self._sidecar is not None:
            await self._sidecar.drain()

    async def stop(self) -> None:
        """See `runner.MeshSide`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._sidecar is not None:
            await self._sidecar.drain()
            settings, grace_s = self._settings, float(self._pod.spec.termination_grace_period_seconds)
            await self._sidecar.stop(grace_s if settings.awaits_last_connection else settings.termination_drain_s)
        if self._status is not None:
            self._status.close()
        self._shared.sides.pop(self._pod.key, None)
        await self._shared.dns.stop_serving(self._pod.key)
        await self._shared.relay.stop_serving(self._pod.key)
        await self._shared.known.forget(self._pod.key)

    def state(self) -> dict[str, Any]:
        """See `runner.MeshSide`."""
        if self._sidecar is None:
            return {}
        told = self._sidecar.state()
        folder = self._proxy_folder
        files = {"admin": str(folder / ADMIN_SOCKET), "access_log": str(folder / OUTPUT), "log": str(folder / LOG)}
        return told | files | {"pid": told["pid"] or 0, "start": told["startTime"] or 0}


def sidecar_options(trust_domain: str, domain: str, concurrency: int) -> SidecarOptions:
    """How this machine runs its Envoys."""
    return SidecarOptions(bootstrap=BootstrapOptions(domain=domain, trust_domain=trust_domain), concurrency=concurrency)
