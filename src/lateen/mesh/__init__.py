"""What the objects mean together: services, endpoints, visibility, effective routes, destinations, policies. Merge, precedence and conflict rules live here."""
