"""Where configuration comes in: files, Kubernetes, memory, facts; and the journal of what came."""
