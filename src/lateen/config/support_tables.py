"""The lists `config.support` reads: what is not in force yet, and what has no effect in Istio either. A feature that lands takes its lines out.

Kind (a class name; `MeshConfig` for the mesh configuration) → field paths; a path stands for everything under it.
"""

NOT_YET: dict[str, tuple[str, ...]] = {
    "EnvoyFilter": ("spec",),
    "WasmPlugin": ("spec",),
    "TrafficExtension": ("spec",),
    "Telemetry": ("spec",),
    "AuthorizationPolicy": ("spec",),
    "RequestAuthentication": ("spec",),
    "DestinationRule": (
        "spec.trafficPolicy.loadBalancer.backendUtilization",
        "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
        "spec.trafficPolicy.portLevelSettings[].loadBalancer.backendUtilization",
        "spec.trafficPolicy.portLevelSettings[].loadBalancer.zoneAwareLbSetting",
        "spec.subsets[].trafficPolicy.loadBalancer.backendUtilization",
        "spec.subsets[].trafficPolicy.loadBalancer.zoneAwareLbSetting",
        "spec.subsets[].trafficPolicy.portLevelSettings[].loadBalancer.backendUtilization",
        "spec.subsets[].trafficPolicy.portLevelSettings[].loadBalancer.zoneAwareLbSetting",
        "spec.subsets[].trafficPolicy.retryBudget.budgetInterval",
        "spec.trafficPolicy.retryBudget.budgetInterval",
    ),
    "KubernetesGateway": ("spec",),
    "ListenerSet": ("spec",),
    "HTTPRoute": ("spec",),
    "GRPCRoute": ("spec",),
    "TLSRoute": ("spec",),
    "TCPRoute": ("spec",),
    "UDPRoute": ("spec",),
    "BackendTLSPolicy": ("spec",),
    "ProxyConfig": ("spec.image",),
    "MeshConfig": (
        "configSources",
        "caCertificates",
        "certificates",
        "ca",
        "serviceScopeConfigs",
        "zoneAwareLbSetting",
        "hboneIdleTimeout",
        "enableEnvoyAccessLogService",
        "serviceEntryVisibility",
        "discoverySelectors",
    ),
}
"""Known, and not in force yet."""

NO_EFFECT: dict[str, tuple[str, ...]] = {
    "VirtualService": ("spec.tcp[].match[].sourceSubnet",),
    "Gateway": ("spec.servers[].defaultEndpoint", "spec.servers[].port.targetPort"),
    "Sidecar": ("spec.ingress[].port.targetPort", "spec.egress[].port.targetPort"),
    "DestinationRule": (
        "spec.trafficPolicy.outlierDetection.consecutiveErrors",
        "spec.trafficPolicy.portLevelSettings[].outlierDetection.consecutiveErrors",
        "spec.subsets[].trafficPolicy.outlierDetection.consecutiveErrors",
        "spec.subsets[].trafficPolicy.portLevelSettings[].outlierDetection.consecutiveErrors",
    ),
    "MeshConfig": ("authPolicy",),
}
"""Without effect here as in Istio."""
