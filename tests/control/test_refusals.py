"""One cause is told once, with the number of proxies."""

import asyncio

from lateen.control.events import Events
from lateen.control.refusals import GATHER_S, Refusals
from lateen.serve.session import Rejected


async def told(*refusals: tuple[str, Rejected], then: tuple[tuple[str, Rejected], ...] = ()) -> list[dict]:
    events, seen = Events(), []

    async def listen() -> None:
        async for event in events.follow():
            seen.append(event)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    known = Refusals(events)
    for batch in (refusals, then):
        for proxy, rejected in batch:
            known.add(proxy, rejected)
        await asyncio.sleep(GATHER_S + 0.1)
    task.cancel()
    return seen


BAD = Rejected("type", "missing ): a(", (("route", "1"),))


async def test_seven_proxies_one_line():
    (event,) = await told(*((f"p{number}", BAD) for number in range(7)))
    assert (event["event"], event["proxy"], event["proxies"], event["message"], event["resources"]) == ("rejected", "p0", 7, "missing ): a(", ["route"])


async def test_the_same_again_is_not_told_again():
    assert len(await told(("p0", BAD), then=(("p0", BAD),))) == 1


async def test_more_proxies_and_another_version_are_told():
    again = Rejected("type", "missing ): a(", (("route", "2"),))
    events = await told(("p0", BAD), then=(("p1", BAD), ("p0", again)))
    assert [event["proxies"] for event in events] == [1, 2, 1]
