"""A bad object never removes a working one."""

from lateen.base.findings import Severity
from lateen.base.names import ObjectRef
from lateen.config import codes
from lateen.sources.file_set import FileSet, Unreadable


def service(name, port=80):
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n---\n"


def ref(name):
    return ObjectRef("Service", "default", name)


def put(files, name, text):
    files.put(name, text.encode() if isinstance(text, str) else text)
    return files.take()


def ports(files):
    return {key.name: item.spec.ports[0].port for key, item in files.objects.items()}


def test_objects_come_change_and_go():
    files = FileSet()
    assert len(put(files, "f", service("a") + service("b")).upserts) == 2
    change = put(files, "f", service("a", 81))
    assert [item.name for item in change.upserts] == ["a"]
    assert change.removed == (ref("b"),)
    files.remove("f")
    assert files.take().removed == (ref("a"),)
    assert files.objects == {}


def test_the_same_text_or_a_comment_changes_nothing():
    files = FileSet()
    put(files, "f", service("a"))
    assert put(files, "f", "# hello\n" + service("a")).is_empty


def test_what_is_refused_keeps_its_last_good_revision_and_says_so():
    files = FileSet()
    put(files, "f", service("a") + service("b"))
    change = put(files, "f", service("a", '"x"') + service("b", 81))
    assert ports(files) == {"a": 80, "b": 81}
    assert {finding.code for finding in change.findings} == {codes.WRONG_TYPE, codes.LAST_GOOD}
    assert put(files, "f", service("a", 82) + service("b", 81)).findings == ()
    assert ports(files) == {"a": 82, "b": 81}


def test_what_istio_refuses_keeps_its_last_good_revision():
    route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\nspec:\n  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}]\n    timeout: %s\n"
    files = FileSet()
    put(files, "f", route % "1s")
    change = put(files, "f", route % "1us")
    assert next(iter(files.objects.values())).spec.http[0].timeout == 1.0
    assert str(change.findings[0].place) == "f:8:14"


def test_a_new_object_that_is_refused_is_not_there():
    files = FileSet()
    put(files, "f", service("a", '"x"'))
    assert files.objects == {}


def test_broken_text_keeps_what_it_does_not_say():
    files = FileSet()
    put(files, "f", service("a") + service("b"))
    change = put(files, "f", service("a", 81) + "a: b: c\n")
    assert ports(files) == {"a": 81, "b": 80}
    assert change.removed == ()
    assert change.findings[0].code == codes.SYNTAX
    assert change.places.at(ref("b")) is not None


def test_empty_and_unreadable_files_keep_everything():
    for content in ("", " \n", Unreadable("permission denied"), b"\xff\xfe"):
        files = FileSet()
        put(files, "f", service("a"))
        change = put(files, "f", content)
        assert ports(files) == {"a": 80}
        assert change.findings[0].code == codes.UNREADABLE
        assert "1 objects stay" in change.findings[0].hint


def test_a_file_of_comments_holds_nothing():
    files = FileSet()
    put(files, "f", service("a"))
    assert put(files, "f", "# gone\n").removed == (ref("a"),)


def test_of_two_files_the_first_wins_and_the_second_takes_over():
    files = FileSet()
    put(files, "g", service("a", 2))
    change = put(files, "f", service("a", 1))
    assert ports(files) == {"a": 1}
    assert [(finding.code, str(finding.place), finding.severity) for finding in change.findings] == [(codes.DUPLICATE_OBJECT, "g:1:1", Severity.ERROR)]
    files.remove("f")
    change = files.take()
    assert ports(files) == {"a": 2}
    assert (change.removed, change.findings) == ((), ())


def test_an_object_that_moves_between_files_is_not_removed():
    files = FileSet()
    put(files, "f", service("a") + service("b"))
    files.put("f", service("b").encode())
    files.put("g", service("a").encode())
    assert files.take().is_empty
