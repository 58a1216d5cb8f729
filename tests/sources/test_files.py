"""Files on a disk: read at the start, followed, taken when they rest."""

import asyncio
import contextlib
import os

import pytest

from lateen.config import codes
from lateen.sources.files import FileSource, Resting

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: %d}]}\n"


def test_a_file_is_taken_when_it_has_rested():
    resting = Resting(rest_s=1.0)
    assert resting.seen({"f": (1, 1, 1)}, 0.0) == ([], [])
    assert resting.seen({"f": (2, 2, 1)}, 0.9) == ([], [])
    assert resting.seen({"f": (2, 2, 1)}, 1.5) == ([], [])
    assert resting.due == 1.9
    assert resting.seen({"f": (2, 2, 1)}, 2.0) == (["f"], [])
    assert resting.seen({"f": (2, 2, 1)}, 9.0) == ([], [])
    assert resting.due is None


def test_files_that_are_saved_together_are_taken_together():
    resting = Resting(rest_s=1.0)
    resting.seen({"f": (1, 1, 1)}, 0.0)
    resting.seen({"f": (1, 1, 1), "g": (1, 1, 2)}, 0.5)
    assert resting.due == 1.5
    assert resting.seen({"f": (1, 1, 1), "g": (1, 1, 2)}, 1.5) == (["f", "g"], [])
    resting.seen({"f": (2, 2, 1), "g": (1, 1, 2)}, 2.0)
    resting.seen({"f": (2, 2, 1), "g": (2, 2, 2)}, 2.9)
    assert resting.due == 3.0  # not so close: the first waits for nobody


def test_a_file_that_never_rests_is_taken_all_the_same():
    resting = Resting(rest_s=1.0)
    taken = [now for now in range(20) if resting.seen({"f": (now, now, 1)}, now * 0.5)[0]]
    assert taken


def test_a_file_rests_from_when_it_was_written():
    second = 10**9
    resting = Resting(rest_s=1.0)
    assert resting.seen({"f": (1, 50 * second, 1)}, 7.0, 50 * second + second // 4) == ([], [])
    assert resting.due == 7.75
    assert resting.seen({"f": (1, 50 * second, 1)}, 7.75, 51 * second) == (["f"], [])


def test_a_clock_that_is_off_shortens_no_rest():
    second = 10**9
    for written_s in (40, 60):
        resting = Resting(rest_s=1.0)
        assert resting.seen({"f": (1, written_s * second, 1)}, 7.0, 50 * second) == ([], [])
        assert resting.due == 8.0


def test_a_file_that_is_replaced_in_two_steps_was_never_gone():
    resting = Resting(rest_s=0.0)
    resting.seen({"f": (1, 1, 1)}, 0.0)
    assert resting.seen({}, 1.0) == ([], [])
    assert resting.seen({"f": (2, 2, 2)}, 1.05) == (["f"], [])
    resting.seen({}, 2.0)
    assert resting.seen({}, 2.2) == ([], ["f"])


def test_folders_are_searched_whole_and_hidden_entries_left_out(tmp_path):
    for name in ("a.yaml", "sub/b.yml", "sub/c.json", ".git/d.yaml", ".e.yaml", "f.txt", "image-map.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(SERVICE % (path.stem.strip("."), 80))
    change = FileSource([tmp_path]).load()
    assert sorted(item.name for item in change.upserts) == ["a", "b", "c"]
    assert change.upserts[0].spec.ports[0].target_port == 80


def test_a_named_file_that_is_not_there_is_a_finding(tmp_path):
    change = FileSource([tmp_path / "none.yaml"]).load()
    assert [finding.code for finding in change.findings] == [codes.UNREADABLE]


def test_the_order_of_paths_decides_between_files(tmp_path):
    for name, port in (("a.yaml", 1), ("b.yaml", 2)):
        (tmp_path / name).write_text(SERVICE % ("s", port))
    change = FileSource([tmp_path / "b.yaml", tmp_path]).load()
    assert change.upserts[0].spec.ports[0].port == 2


@pytest.mark.parametrize("names_file", [True, False], ids=["file", "folder"])
async def test_edits_are_followed(tmp_path, names_file):
    path = tmp_path / "a.yaml"
    path.write_text(SERVICE % ("s", 1))
    source = FileSource([path if names_file else tmp_path])
    assert len(source.load().upserts) == 1
    changes = source.changes()

    async def after(act):
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.1)
        act()
        return await asyncio.wait_for(waiting, 90)

    change = await after(lambda: path.write_text(SERVICE % ("s", 2)))
    assert change.upserts[0].spec.ports[0].port == 2

    def replace():
        (tmp_path / "new").write_text(SERVICE % ("s", 3))
        os.replace(tmp_path / "new", path)

    change = await after(replace)
    assert change.upserts[0].spec.ports[0].port == 3
    change = await after(lambda: path.write_text(""))
    assert (change.is_empty, change.findings[0].code) == (True, codes.UNREADABLE)
    change = await after(path.unlink)
    assert [key.name for key in change.removed] == ["s"]
    with contextlib.suppress(RuntimeError):
        await changes.aclose()
