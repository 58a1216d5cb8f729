"""Gateway: servers, their hosts and TLS; a Sidecar's ingress TLS too. Source: Istio, ValidateGateway."""

from collections.abc import Sequence

from lateen.base.addresses import is_ip
from lateen.base.findings import Finding
from lateen.config.kinds.istio.gateway import Gateway, Server, ServerTls, ServerTlsMode
from lateen.config.validate.names import (
    CIPHER_SUITES,
    HTTP_PROTOCOLS,
    TLS_PROTOCOLS,
    check_gateway_host,
    check_port,
    check_protocol,
    check_unix_path,
    is_label,
)
from lateen.config.validate.report import Report


def check(item: Gateway) -> tuple[Finding, ...]:
    """All findings about one Gateway."""
    report = Report(item)
    if not is_label(item.meta.name):
        report.error("metadata.name", f"a Gateway's name has no dots: `{item.meta.name}`")
    if not item.spec.servers:
        report.error("spec.servers", "a Gateway needs at least one server")
    seen: dict[str, set[str]] = {"port.name": set(), "name": set()}
    for index, server in enumerate(item.spec.servers):
        field = f"spec.servers[{index}]"
        _server(report, field, server)
        port_name = server.port.name if server.port is not None else ""
        for where, name in (("port.name", port_name), ("name", server.name)):
            if name and name in seen[where]:
                report.error(f"{field}.{where}", f"twice in one Gateway: `{name}`")
            seen[where].add(name)
    return report.findings


def _server(report: Report, field: str, server: Server) -> None:
    if not server.hosts:
        report.error(f"{field}.hosts", "a server needs at least one host")
    for index, host in enumerate(server.hosts):
        check_gateway_host(report, f"{field}.hosts[{index}]", host, is_gateway=True)
    if server.bind.startswith("unix://"):
        check_unix_path(report, f"{field}.bind", server.bind)
    elif server.bind and not is_ip(server.bind):
        report.error(f"{field}.bind", f"not an IP address: `{server.bind}`")
    port = server.port
    if port is None:
        report.error(f"{field}.port", "a port is missing")
    else:
        if not port.protocol:
            report.error(f"{field}.port.protocol", "a protocol is missing")
        check_protocol(report, f"{field}.port.protocol", port.protocol)
        if server.bind.startswith("unix://"):
            if port.number:
                report.error(f"{field}.port.number", "a Unix socket has no port: 0")
        else:
            check_port(report, f"{field}.port.number", port.number)
        if not port.name:
            report.error(f"{field}.port.name", "a port needs a name")
        if port.target_port:
            report.warning(f"{field}.port.targetPort", "has no effect")
        _tls_goes_with(report, field, port.protocol.lower(), server.tls)
    if server.tls is not None:
        check_server_tls(report, f"{field}.tls", server.tls)


def _tls_goes_with(report: Report, field: str, protocol: str, tls: ServerTls | None) -> None:
    """HTTPS and TLS need settings, HTTP may only redirect, the rest may have none."""
    if protocol in TLS_PROTOCOLS:
        if tls is None:
            report.error(f"{field}.tls", f"protocol {protocol.upper()} needs tls settings")
        return
    if tls is None:
        return
    if protocol in HTTP_PROTOCOLS:
        is_passed = tls.mode in (ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH)
        is_only_redirect = is_passed and not (tls.server_certificate or tls.private_key or tls.ca_certificates)
        if not is_only_redirect:
            report.error(f"{field}.tls", "a plain HTTP server's tls settings say httpsRedirect and no more", "or use protocol HTTPS")
    else:
        report.error(f"{field}.tls", f"protocol {protocol.upper()} has no tls settings", "use protocol TLS or HTTPS")


def check_server_tls(report: Report, field: str, tls: ServerTls) -> None:
    """What a mode needs and forbids. Source: Istio, validateTLSOptions."""
    _ciphers(report, f"{field}.cipherSuites", tls.cipher_suites)
    sources = [name for name, value in (("credentialName", tls.credential_name), ("credentialNames", tls.credential_names)) if value]
    sources += ["serverCertificate"] if tls.server_certificate and tls.private_key else []
    sources += ["tlsCertificates"] if tls.tls_certificates else []
    if len(sources) > 1:
        report.error(f"{field}.{sources[1]}", f"either {' or '.join(sources)}")
    files = (("serverCertificate", tls.server_certificate), ("privateKey", tls.private_key), ("caCertificates", tls.ca_certificates))
    if tls.mode is ServerTlsMode.ISTIO_MUTUAL:
        others = (("credentialName", tls.credential_name), ("credentialNames", tls.credential_names), ("tlsCertificates", tls.tls_certificates))
        for name, value in (*files, *others):
            if value:
                report.error(f"{field}.{name}", "mode ISTIO_MUTUAL uses the mesh's own certificates")
        if tls.ca_crl:
            report.warning(f"{field}.caCrl", "has no effect with mode ISTIO_MUTUAL", "the mesh's certificates live for hours, and nobody revokes them")
        return
    _clients(report, field, tls)
    wants_client = tls.mode in (ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL)
    if tls.mode is not ServerTlsMode.SIMPLE and not wants_client:
        return
    if tls.credential_name or tls.credential_names:
        return
    if not tls.tls_certificates:
        for name, value in files[:2]:
            if not value:
                report.error(f"{field}.{name}", f"mode {tls.mode} needs it", "or set credentialName")
    for index, pair in enumerate(tls.tls_certificates):
        for name, value in (("serverCertificate", pair.server_certificate), ("privateKey", pair.private_key)):
            if not value:
                report.error(f"{field}.tlsCertificates[{index}].{name}", f"mode {tls.mode} needs it")
    if wants_client and not (tls.ca_certificates or tls.ca_cert_credential_name):
        report.error(f"{field}.caCertificates", f"mode {tls.mode} needs it", "or set credentialName")


def _clients(report: Report, field: str, tls: ServerTls) -> None:
    """What only counts where clients show certificates. Source: Istio, validateTLSOptions; that insecureSkipVerify is idle, ours."""
    has_own = (
        tls.server_certificate or tls.private_key or tls.ca_certificates or tls.ca_crl or tls.tls_certificates or tls.credential_name or tls.credential_names
    )
    if tls.mode in (ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH):
        if has_own:
            report.warning(field, f"mode {tls.mode} uses no certificates", "leave them out")
    elif tls.mode is ServerTlsMode.SIMPLE:
        if tls.ca_crl:
            report.error(f"{field}.caCrl", "mode SIMPLE asks for no client certificates", "use mode MUTUAL or OPTIONAL_MUTUAL")
        if tls.insecure_skip_verify:
            report.warning(f"{field}.insecureSkipVerify", "has no effect: mode SIMPLE asks for no client certificates", "use mode MUTUAL or OPTIONAL_MUTUAL")
    if tls.ca_crl and (tls.credential_name or tls.credential_names):
        report.error(f"{field}.caCrl", "does not go with credentialName", "put it into the Secret, as `ca.crl`")


def _ciphers(report: Report, field: str, names: Sequence[str]) -> None:
    """Each known, and once. Source: Istio, validateServerTLS's warnings."""
    for index, name in enumerate(names):
        if name not in CIPHER_SUITES:
            report.warning(f"{field}[{index}]", f"no such cipher suite, it is left out: `{name}`", "one of " + ", ".join(sorted(CIPHER_SUITES)))
        elif name in names[:index]:
            report.warning(f"{field}[{index}]", f"twice: `{name}`", "leave one out")
