"""The relay's rules as a playbook: what Envoy, control and time do, and what comes out."""

from lateen.wire.delta import HEALTH_TYPE, DeltaRequest, decode_request, decode_response, encode_request, encode_response, resource_fragment
from lateen.wire.relay import CLUSTERS, DEMAND_PATIENCE_S, ENDPOINTS, PATIENCE_S, SLOW_S, Keep, Known, RelaySession, RestartUpstream, SendDown, SendUp

NODE = b"\x0a\x05envoy"


class Memory(dict):
    """A record in memory: type → name → Known."""

    def known(self, type_url):
        return self.get(type_url, {})

    def keep(self, change):
        mine = self.setdefault(change.type_url, {})
        mine.update(change.kept)
        for name in change.gone:
            mine.pop(name, None)


def fragment(kind, name, version="1"):
    return resource_fragment(name, version, kind, b"body of " + name.encode())


def response(kind, nonce, *names, removed=(), version="1"):
    return encode_response(kind, nonce, [fragment(kind, name, version) for name in names], removed)


def ask(kind, **more):
    return encode_request(DeltaRequest(kind, **more))


def recorded():
    memory = Memory()
    memory[CLUSTERS] = {name: Known("1", fragment(CLUSTERS, name)) for name in ("a", "b")}
    memory[ENDPOINTS] = {"a": Known("1", fragment(ENDPOINTS, "a"))}
    return memory


def down(actions):
    (action,) = actions
    assert isinstance(action, SendDown)
    return decode_response(action.raw)


def up(actions):
    return [decode_request(action.raw) for action in actions if isinstance(action, SendUp)]


def names(answer):
    return sorted(resource.name for resource in answer.resources)


def test_bytes_pass_unchanged_and_are_recorded_when_accepted():
    session = RelaySession(Memory())
    first = ask(CLUSTERS, node=NODE)
    assert session.on_upstream_open(0) == ()
    assert session.on_request(first, 0) == (SendUp(first),)
    raw = response(CLUSTERS, "n1", "a", "b")
    assert session.on_response(raw, 0) == (SendDown(raw),)
    ack = ask(CLUSTERS, nonce="n1")
    keep, forwarded = session.on_request(ack, 0)
    assert isinstance(keep, Keep) and sorted(keep.kept) == ["a", "b"] and forwarded == SendUp(ack)


def test_what_envoy_refuses_is_not_recorded():
    session = RelaySession(Memory())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    session.on_response(response(CLUSTERS, "n1", "a"), 0)
    nack = ask(CLUSTERS, nonce="n1", error="bad")
    assert session.on_request(nack, 0) == (SendUp(nack),)


def test_requests_before_control_is_there_are_said_when_it_comes():
    session = RelaySession(Memory())
    assert session.on_request(ask(CLUSTERS, node=NODE), 0) == ()
    session.on_request(ask(ENDPOINTS, subscribe=("x", "y")), 0)
    clusters, endpoints = up(session.on_upstream_open(0.1))
    assert clusters == DeltaRequest(CLUSTERS, node=NODE)
    assert endpoints == DeltaRequest(ENDPOINTS, subscribe=("x", "y"))


def test_a_lost_control_is_told_what_envoy_holds():
    session = RelaySession(Memory())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    session.on_response(response(CLUSTERS, "n1", "a", "b"), 0)
    session.on_request(ask(CLUSTERS, nonce="n1"), 0)
    session.on_response(response(CLUSTERS, "n2", removed=("b",)), 0)
    session.on_request(ask(CLUSTERS, nonce="n2"), 0)
    assert session.on_upstream_closed(1) == ()
    assert session.deadline is None
    assert up(session.on_upstream_open(60)) == [DeltaRequest(CLUSTERS, initial_versions={"a": "1"}, node=NODE)]


def test_an_answer_to_a_lost_control_does_not_reach_the_next():
    session = RelaySession(Memory())
    session.on_upstream_open(0)
    session.on_request(ask(ENDPOINTS, node=NODE, subscribe=("a",)), 0)
    session.on_response(response(ENDPOINTS, "7", "a"), 0)
    session.on_upstream_closed(0)
    session.on_upstream_open(0)
    session.on_response(response(ENDPOINTS, "7", "a", version="2"), 0)
    (keep,) = session.on_request(ask(ENDPOINTS, nonce="7"), 0)
    assert keep.kept["a"].version == "1"
    keep, forwarded = session.on_request(ask(ENDPOINTS, nonce="7"), 0)
    assert keep.kept["a"].version == "2" and up([forwarded])[0].nonce == "7"


def test_a_subscription_that_rides_on_a_stale_answer_still_arrives():
    session = RelaySession(Memory())
    session.on_upstream_open(0)
    session.on_request(ask(ENDPOINTS, node=NODE, subscribe=("a",)), 0)
    session.on_response(response(ENDPOINTS, "7", "a"), 0)
    session.on_upstream_closed(0)
    session.on_upstream_open(0)
    _, forwarded = session.on_request(ask(ENDPOINTS, nonce="7", subscribe=("b",)), 0)
    assert up([forwarded]) == [DeltaRequest(ENDPOINTS, subscribe=("b",))]


def test_an_envoy_that_starts_without_control_is_answered_from_the_record():
    session = RelaySession(recorded())
    session.on_upstream_closed(0)
    assert session.on_request(ask(CLUSTERS, node=NODE), 0) == ()
    assert session.deadline == PATIENCE_S
    assert names(down(session.on_time(PATIENCE_S))) == ["a", "b"]
    answer = down(session.on_request(ask(ENDPOINTS, subscribe=("a", "gone")), PATIENCE_S))
    assert names(answer) == ["a"] and answer.removed == ("gone",)
    assert session.on_request(ask(CLUSTERS, nonce="known-1"), 1) == ()
    told = up(session.on_upstream_open(9))
    assert [each.initial_versions for each in told] == [{"a": "1", "b": "1"}, {"a": "", "gone": ""}]  # the endpoints are not acknowledged yet


def test_no_waiting_where_control_is_known_to_be_away():
    session = RelaySession(recorded(), is_reachable=False)
    assert names(down(session.on_request(ask(CLUSTERS, node=NODE), 5))) == ["a", "b"]


def test_without_a_record_envoy_waits_for_control():
    session = RelaySession(Memory(), is_reachable=False)
    assert session.on_request(ask(CLUSTERS, node=NODE), 0) == ()
    assert session.deadline is None
    assert up(session.on_upstream_open(99)) == [DeltaRequest(CLUSTERS, node=NODE)]


def test_a_connected_control_that_says_nothing_is_not_waited_for_and_then_told_the_truth():
    session = RelaySession(recorded())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    assert session.deadline == SLOW_S
    assert names(down(session.on_time(SLOW_S))) == ["a", "b"]
    (_, answer) = session.on_request(ask(ENDPOINTS, subscribe=("a",)), SLOW_S)
    assert names(decode_response(answer.raw)) == ["a"]
    assert session.on_response(response(CLUSTERS, "n1", "c"), 9) == (RestartUpstream(),)
    assert up(session.on_upstream_open(9))[0] == DeltaRequest(CLUSTERS, initial_versions={"a": "", "b": ""}, node=NODE)  # nor are these


def test_an_envoy_that_comes_back_holding_everything_is_left_in_peace():
    session = RelaySession(recorded(), is_reachable=False)
    assert session.on_request(ask(CLUSTERS, node=NODE, initial_versions={"a": "1", "b": "1"}), 0) == ()
    assert session.on_request(ask(ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"}), 0) == ()


def test_a_cluster_left_warming_by_a_dying_control_gets_its_endpoints_again():
    session = RelaySession(recorded())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    session.on_response(response(CLUSTERS, "n1", "a"), 0)
    session.on_request(ask(CLUSTERS, nonce="n1"), 0)
    session.on_request(ask(ENDPOINTS, subscribe=("a",)), 0)
    session.on_response(response(ENDPOINTS, "n2", "a"), 0)
    session.on_request(ask(ENDPOINTS, nonce="n2"), 0)
    session.on_response(response(CLUSTERS, "n3", "a", version="2"), 0)
    assert names(down(session.on_upstream_closed(1))) == ["a"]


def test_names_asked_for_while_control_is_there_wait_for_control():
    session = RelaySession(recorded())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    session.on_response(response(CLUSTERS, "n1", "a"), 0)
    session.on_request(ask(CLUSTERS, nonce="n1", subscribe=("on-demand",)), 1)
    assert session.deadline is None


def test_removed_clusters_take_their_endpoints_out_of_the_record():
    session = RelaySession(recorded())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE, initial_versions={"a": "1", "b": "1"}), 0)
    session.on_response(response(CLUSTERS, "n1", removed=("a",)), 0)
    kept = [action for action in session.on_request(ask(CLUSTERS, nonce="n1"), 0) if isinstance(action, Keep)]
    assert [(each.type_url, each.gone) for each in kept] == [(CLUSTERS, ("a",)), (ENDPOINTS, ("a",))]


def test_a_first_whole_answer_replaces_the_record():
    session = RelaySession(recorded())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    session.on_response(response(CLUSTERS, "n1", "b"), 0)
    kept = [action for action in session.on_request(ask(CLUSTERS, nonce="n1"), 0) if isinstance(action, Keep)]
    assert [(each.type_url, sorted(each.kept), each.gone) for each in kept] == [(CLUSTERS, ["b"], ("a",)), (ENDPOINTS, [], ("a",))]


def test_a_cluster_that_a_request_waits_for_waits_for_control_and_then_has_a_stand_in():
    session = RelaySession(recorded(), is_reachable=False)
    session.on_upstream_closed(0)
    assert names(down(session.on_request(ask(CLUSTERS, node=NODE), 0))) == ["a", "b"]
    assert session.on_request(ask(CLUSTERS, subscribe=("far",)), 1) == ()
    assert session.deadline == 1 + DEMAND_PATIENCE_S
    assert session.on_time(1 + DEMAND_PATIENCE_S - 0.1) == ()
    answer = down(session.on_time(1 + DEMAND_PATIENCE_S))
    assert names(answer) == ["far"] and answer.removed == ()
    (request,) = up(session.on_upstream_open(9))
    assert request.subscribe == ("*", "far")
    raw = response(CLUSTERS, "n1", "far")
    assert session.on_response(raw, 9) == (SendDown(raw),)


def test_control_that_is_back_in_time_answers_who_waits():
    session = RelaySession(recorded(), is_reachable=False)
    session.on_upstream_closed(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    session.on_request(ask(CLUSTERS, subscribe=("far",)), 1)
    session.on_upstream_open(2)
    raw = response(CLUSTERS, "n1", "far")
    assert session.on_response(raw, 3) == (SendDown(raw),)
    assert session.deadline is None


def reports(actions):
    return [request.error for request in up(actions) if request.type_url == HEALTH_TYPE]


def test_how_the_workload_is_goes_up_on_each_stream_once_control_knows_who_speaks():
    session = RelaySession(Memory())
    assert session.on_report(None) == (), "there is no stream yet"
    assert reports(session.on_upstream_open(0)) == [], "and control does not know whose it is"
    first = session.on_request(ask(CLUSTERS, node=NODE), 0)
    assert [request.type_url for request in up(first)] == [CLUSTERS, HEALTH_TYPE]
    assert reports(first) == [None]
    assert reports(session.on_report("it does not answer")) == ["it does not answer"]
    assert reports(session.on_request(ask(ENDPOINTS, subscribe=("a",)), 0)) == []
    session.on_upstream_closed(1)
    assert session.on_report(None) == ()
    again = session.on_upstream_open(2)
    assert up(again)[0].node == NODE
    assert reports(again) == [None]


def test_what_envoy_will_not_have_is_known_until_it_takes_something_else():
    session = RelaySession(Memory())
    session.on_upstream_open(0)
    session.on_request(ask(CLUSTERS, node=NODE), 0)
    session.on_response(response(CLUSTERS, "n1", "a"), 0)
    session.on_request(ask(CLUSTERS, nonce="n1", error="no such address"), 0)
    assert session.refused == "no such address"
    session.on_response(response(CLUSTERS, "n2", "a"), 0)
    session.on_request(ask(CLUSTERS, nonce="n2"), 0)
    assert session.refused == ""
