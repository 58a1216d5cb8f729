"""The ledger: complete when every proxy that a publication concerns has answered."""

from lateen.base.names import ObjectRef
from lateen.serve.ledger import LATE_S, Change, Ledger

CHANGE = Change(ObjectRef("VirtualService", "a", "b"), 3, 10.0)


def test_live_when_all_have_answered():
    ledger = Ledger()
    ledger.begin(5, [CHANGE])
    ledger.concerns(5, 1)
    ledger.concerns(5, 2)
    assert ledger.settled(1, 5, 10.002) == ()
    assert ledger.seal(5, 10.003) == ()
    (report,) = ledger.settled(2, 6, 10.011)
    assert (report.live, report.of, report.refused, report.is_final) == (2, 2, 0, True)
    assert abs(report.took_s - 0.011) < 1e-9
    assert ledger.settled(2, 6, 11) == ()


def test_none_concerned():
    ledger = Ledger()
    ledger.begin(5, [CHANGE])
    (report,) = ledger.seal(5, 10.0)
    assert (report.live, report.of) == (0, 0)


def test_an_older_answer_does_not_count():
    ledger = Ledger()
    ledger.begin(5, [CHANGE])
    ledger.concerns(5, 1)
    ledger.seal(5, 10.0)
    assert ledger.settled(1, 4, 10.1) == ()


def test_the_gone_and_the_refusing():
    ledger = Ledger()
    ledger.begin(5, [CHANGE])
    for proxy in (1, 2, 3):
        ledger.concerns(5, proxy)
    ledger.seal(5, 10.0)
    ledger.gone(1, 10.1)
    ledger.refused(2, 10.2)
    assert ledger.settled(2, 5, 10.2) == ()
    (report,) = ledger.settled(3, 5, 10.3)
    assert (report.live, report.of, report.refused) == (1, 2, 1)


def test_late_is_said_once_and_completes():
    ledger = Ledger()
    ledger.begin(5, [CHANGE])
    ledger.concerns(5, 1)
    ledger.seal(5, 10.0)
    assert ledger.late(10.0 + LATE_S / 2) == ()
    (report,) = ledger.late(10.0 + LATE_S)
    assert (report.live, report.of, report.is_final) == (0, 1, False)
    assert ledger.late(100) == ()
    assert ledger.settled(1, 5, 100)[0].is_final


def test_the_same_revision_published_again_forgets_nothing():
    ledger = Ledger()
    ledger.begin(5, [CHANGE])
    ledger.concerns(5, 1)
    ledger.seal(5, 10.0)
    ledger.begin(5, [])
    assert ledger.seal(5, 10.0) == ()
    (report,) = ledger.settled(1, 5, 10.1)
    assert (report.changes, report.live, report.of) == ((CHANGE,), 1, 1)
    ledger.begin(5, [])
    assert ledger.seal(5, 10.2) == ()
