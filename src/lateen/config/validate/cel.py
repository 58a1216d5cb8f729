"""Common Expression Language: whether a text is an expression. Called for filters of access logs.

Names and types are not looked at: which there are is Envoy's matter.
"""

import re

LONGEST = 32_768
"""Characters of an expression: the library counts columns in 16 bits."""
_PROBLEM = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*)")


def cel_problem(text: str) -> str | None:
    """Why the text is no expression, with the place in it; None: it is one."""
    from cel import compile as parsed  # few configurations have one, and it takes a tenth of a second

    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    try:
        parsed(text)
    except ValueError as error:
        found = _PROBLEM.search(str(error))
        return f"{found[3].partition(' expecting ')[0]} (line {found[1]}, column {found[2]})" if found else "it is none"
    return None
