"""Flags of the access log, in words."""

import pytest

from lateen.cli.response_flags import in_words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('[t] "GET /book HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 0', "UH: no healthy endpoint"),
        ('[t] "- - -" 0 UF,URX - - "delayed" 0 0 1 -', "UF: could not connect to the endpoint, URX: all retries failed, or too many connection attempts"),
        ('{"response_code":503,"response_flags":"NC"}', "NC: the route's cluster does not exist (a missing service or subset)"),
    ],
)
def test_flags_are_explained(line: str, words: str) -> None:
    assert in_words(line + "\n") == f"{line}  # {words}"


def test_a_line_without_flags_stays() -> None:
    line = '[t] "GET /book HTTP/1.1" 200 - via_upstream - "-" 0 19 0'
    assert in_words(line + "\n") == line
