"""The command line. Thin: parses, calls, prints; stdout is data, stderr is talk; exit 0 fine, 1 findings or failure, 2 usage."""
