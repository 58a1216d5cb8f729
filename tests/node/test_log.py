"""A daemon whose log has no room goes on, and its log says how many lines were lost."""

import os
from pathlib import Path

from lateen.node.log import LossyLog


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file, full = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), os.open("/dev/full", os.O_WRONLY)
    target = os.dup(file)
    log = LossyLog(target)
    log.msg("one")
    os.dup2(full, target)
    log.msg("two")
    log.error("three")
    os.dup2(file, target)
    log.msg("four")
    log.msg("five")
    assert path.read_text() == "one\n\n(2 lines of this log were lost: there was no room)\nfour\nfive\n"
    for one in (file, full, target):
        os.close(one)
