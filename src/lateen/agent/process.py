"""The agent's life: it waits for its WorkloadGroup, starts Envoy, tells how the process is, renews the certificate, and leaves. Called by `cli`.

Joining is Envoy's own stream: its node names the group, and control makes the WorkloadEntry while it lasts. Killed, the agent takes its Envoy along, and
the entry ends after control's grace; told to stop, it says so first.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from lateen.agent.credentials import BadCredentials, given, identity_of, write_back
from lateen.agent.health import Report, follow
from lateen.agent.link import Asked, Link
from lateen.agent.spawn import spawn
from lateen.base.errors import LateenError
from lateen.base.names import registered_name
from lateen.base.spiffe import SpiffeId
from lateen.config.kinds.istio.workload_entry import WorkloadProbe
from lateen.node import log
from lateen.node.bootstrap import ADS_SOCKET, BootstrapOptions
from lateen.node.certificates import DIRECTORY, CertificateKeeper, read_bundle, write_bundle
from lateen.node.known import KnownGood
from lateen.node.pod import Interception, Locality, PodIdentity
from lateen.node.relay import Relay
from lateen.node.settings import ProxySettings
from lateen.node.sidecar import LOG, Sidecar, SidecarOptions
from lateen.node.signer import ControlSigner

_LOOK_S: Final = 0.5
"""How often certificate and Envoy's complaints are looked at."""
_FAREWELL_S: Final = 1.0
"""After it has said that it goes the process serves on, while clients hear of it."""
_DRAIN_S: Final = 5.0
"""Then open connections have so long. Source: Istio, terminationDrainDuration."""
_TAKEN: Final = "Address already in use"
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class AgentOptions:
    """`control`: HOST:PORT. `certificates`: what `lateen ca issue` wrote. `address`: where the mesh reaches the process. `folder`: of this agent alone."""

    control: str
    certificates: Path
    namespace: str
    group: str
    address: str
    folder: Path
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    locality: Locality = field(default_factory=Locality)
    network: str = ""
    proxy_port: int = 0
    """Of the HTTP proxy for the process's own calls, at the loopback address. 0: none."""

    @property
    def entry(self) -> str:
        """The name of the WorkloadEntry it becomes."""
        return registered_name(self.group, self.address, self.network)

    @property
    def application(self) -> str:
        """Where the process listens."""
        return "::1" if ":" in self.address else "127.0.0.1"


def run(options: AgentOptions) -> int:
    """Be the agent until told to stop. The exit code. LateenError: it could not begin."""
    log.configure()

    async def whole() -> int:
        return await _Agent(options).run()  # made inside: its channel belongs to the loop

    return asyncio.run(whole())


class _Agent:
    """The parts, wired."""

    def __init__(self, options: AgentOptions) -> None:
        self.options = options
        self.bundle = given(options.certificates)
        self.identity: SpiffeId = identity_of(self.bundle)
        if self.identity.namespace != options.namespace:
            raise BadCredentials(f"the certificate is for namespace {self.identity.namespace}, the group is in {options.namespace}")
        self.link = Link(options.control, self.bundle)
        self.asked: Asked | None = None
        self.news = asyncio.Event()
        """Set, and replaced, when `asked` has changed."""
        self.stopping, self.hurrying = asyncio.Event(), asyncio.Event()
        self.log = structlog.get_logger("agent")

    async def run(self) -> int:
        """Until SIGINT, SIGTERM or SIGHUP; a second one ends it without grace."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)
        with _alone(self.options.folder):
            try:
                following = asyncio.create_task(self._follow(), name="group")
                if await self._is_wanted():
                    await self._serve()
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            finally:
                await self.link.close()
                shutil.rmtree(self.options.folder, ignore_errors=True)
        return 0

    def _signalled(self) -> None:
        (self.hurrying if self.stopping.is_set() else self.stopping).set()

    async def _follow(self) -> None:
        """Keeps `asked`; says why it is not one of the group's, and that control is away."""
        told = ""
        complaints = asyncio.create_task(self._complain())
        try:
            async for message in self.link.watch(self.options.group):
                if message.reason and message.reason != told:
                    self.log.warning("not a member yet", reason=message.reason)
                told = message.reason
                if message.group is not None:
                    self.asked = message.group
                    news, self.news = self.news, asyncio.Event()
                    news.set()
        finally:
            complaints.cancel()

    async def _complain(self) -> None:
        told = ""
        while True:
            if self.link.problem != told:
                told = self.link.problem
                if told:
                    self.log.warning("control is not reached; trying again", control=self.options.control, reason=told)
                else:
                    self.log.info("control is there", control=self.options.control)
            await asyncio.sleep(_LOOK_S)

    async def _is_wanted(self) -> bool:
        """Returns when the group is there and takes it. False: told to stop meanwhile."""
        while self.asked is None and not self.stopping.is_set():
            waits = {asyncio.create_task(self.news.wait()), asyncio.create_task(self.stopping.wait())}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()
        return not self.stopping.is_set()

    async def _serve(self) -> None:
        """From the start of Envoy to its end."""
        proxy = self.options.folder / "proxy"
        write_bundle(proxy / DIRECTORY, self.bundle)
        async with AsyncExitStack() as stack:
            known = KnownGood(self.options.folder / "known")
            stack.callback(known.close)
            relay = await stack.enter_async_context(Relay(self.link.channel, known))
            signer = await stack.enter_async_context(ControlSigner(self.link.channel))
            await relay.serve(self.options.entry, proxy / ADS_SOCKET)
            pod, options = self._pod(), self._sidecar_options()
            attributes = (("workload", pod.workload), ("app", pod.app), ("version", pod.version))
            keeper = CertificateKeeper(proxy, self.identity, attributes, signer)
            sidecar = Sidecar(self._own(pod), proxy, spawn, options)
            began = time.monotonic()
            await sidecar.start()
            works = (known.run(), keeper.run(), self._renew(keeper, proxy), self._watch(relay, sidecar, began), self._ask(relay, sidecar))
            tasks = [asyncio.create_task(work) for work in works]
            stopped = asyncio.create_task(self.stopping.wait())
            try:
                done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
                await self._farewell(sidecar)
                for task in done:
                    task.result()  # what failed is no end as asked for
            finally:
                for task in (*tasks, stopped):
                    task.cancel()
                await asyncio.gather(*tasks, stopped, return_exceptions=True)
                await sidecar.stop()

    def _pod(self) -> PodIdentity:
        """The process as its peers see it: with the labels of its group."""
        options = self.options
        return PodIdentity(
            options.namespace,
            options.entry,
            self.identity.service_account,
            (options.address,),
            options.group,
            dict(self.asked.labels if self.asked else {}) | dict(options.labels),
            interception=Interception.NONE,
            locality=options.locality,
        )

    def _own(self, pod: PodIdentity) -> PodIdentity:
        """As its proxy introduces it: the group's labels are control's to add, as they stand then."""
        return replace(pod, labels=self.options.labels)

    def _sidecar_options(self) -> SidecarOptions:
        said = {"AUTO_REGISTER_GROUP": self.options.group, "OUTBOUND_LISTENERS": "WRITTEN"}
        if self.options.proxy_port:
            said["HTTP_PROXY_PORT"] = str(self.options.proxy_port)
        pod = self._pod()
        settings = ProxySettings(environment={f"ISTIO_META_{key}": value for key, value in said.items()}, service_cluster=f"{pod.app}.{pod.namespace}")
        trust_domain = self.identity.trust_domain
        bootstrap = BootstrapOptions(
            trust_domain=trust_domain, network=self.options.network, uses_node_dns=False, has_mark=False, has_own_ports=False, settings=settings
        )
        return SidecarOptions(bootstrap)

    async def _watch(self, relay: Relay, sidecar: Sidecar, began: float) -> None:
        """Says that it is ready, and what Envoy and control will not have."""
        told, is_told = "", False
        while True:
            stream = relay.stream_of(self.options.entry)
            if stream is not None and stream.refused != told:
                told = stream.refused
                hint = f"let the process listen at {self.options.application} alone, or choose another --address; then start again" if _TAKEN in told else ""
                if told:
                    self.log.error("the proxy refuses what control sends", reason=told[:500], **({"hint": hint} if hint else {}))
            if sidecar.ready() and not is_told:
                is_told = True
                took_s = time.monotonic() - began
                group = f"{self.options.namespace}/{self.options.group}"
                print(f"{group}: joined as {self.options.entry}, ready in {took_s:.1f} s; Envoy's log: {self.options.folder / 'proxy' / LOG}", flush=True)  # noqa: T201  told on stdout
            await asyncio.sleep(_LOOK_S if is_told else _LOOK_S / 10)

    async def _ask(self, relay: Relay, sidecar: Sidecar) -> None:
        """Follows the group's probe, whatever it is now."""
        asking: asyncio.Task[None] | None = None
        probe: WorkloadProbe | None = None

        def is_open() -> bool:
            """Whether the mesh gets through to the process: Envoy serves, and was not refused the process's own address."""
            stream = relay.stream_of(self.options.entry)
            return sidecar.ready() and stream is not None and self.options.address not in stream.refused

        async def tell(report: Report) -> None:
            self.log.info(
                "the process is well" if report.problem is None else "the process is not well", **({"reason": report.problem} if report.problem else {})
            )
            await relay.report(self.options.entry, report.problem)

        try:
            while True:
                news = self.news
                wanted = self.asked.probe if self.asked else None
                if wanted != probe:
                    if asking is not None:
                        asking.cancel()
                    probe = wanted
                    asking = asyncio.create_task(follow(probe, self.options.application, is_open, tell)) if probe is not None else None
                await news.wait()
        finally:
            if asking is not None:
                asking.cancel()

    async def _renew(self, keeper: CertificateKeeper, proxy: Path) -> None:
        """A new certificate is used towards control too, and kept for the next start; the end of one that cannot be renewed is said."""
        rotations, problem = 0, ""
        while True:
            if keeper.state.rotations != rotations:
                rotations = keeper.state.rotations
                bundle = read_bundle(proxy / DIRECTORY)
                if bundle is not None:
                    write_back(self.options.certificates, bundle)
                    await self.link.renew(bundle)
                    self.log.info("the certificate is renewed", ends=f"{bundle.leaf().not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
            if keeper.state.problem and keeper.state.problem != problem:
                self.log.warning("the certificate is not renewed yet", ends=f"{self.bundle.leaf().not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
            problem = keeper.state.problem
            await asyncio.sleep(_LOOK_S)

    async def _farewell(self, sidecar: Sidecar) -> None:
        """Out of the mesh first, then Envoy serves what is open; a second signal ends that."""
        hurried = asyncio.create_task(self.hurrying.wait())
        leaving = asyncio.create_task(self._leave(sidecar))
        await asyncio.wait({hurried, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (hurried, leaving):
            task.cancel()
        await asyncio.gather(hurried, leaving, return_exceptions=True)

    async def _leave(self, sidecar: Sidecar) -> None:
        if await self.link.leave(self.options.entry):
            await sidecar.drain()
            await asyncio.sleep(_FAREWELL_S)
        await sidecar.stop(_DRAIN_S)


class _alone:
    """The folder of one agent, held while it runs. Raises LateenError if another agent has it, OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise LateenError(f"another agent is {self._folder.name} already; each has an --address or a group of its own") from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
