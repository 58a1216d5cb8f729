"""Configurations that are bad where nobody refuses them, through one Envoy: `python -m tests.fuzz.hostile_envoy SEED SHARE SECONDS` prints one JSON object.

Two families: objects with a hostile value that validation lets pass (`hostile`), and resources with one, as if everything before the check had let it pass
(`spoiled`). SHARE, in thousandths, of them is drawn. What the check takes Envoy has to take.
"""

import asyncio
import random
import sys

import arena

from tests.fuzz.configurations import Mesh
from tests.fuzz.hostile import hostile_edits
from tests.fuzz.one_envoy import Run, in_general, main
from tests.fuzz.spoiled import MESSAGES, Tried, spoiled_resources

EVERYTHING = 1000
RESOURCES = 10


async def hostile(run: Run, meshes: list[Mesh], draw: random.Random, share: int, until: float) -> None:
    """Objects, then resources; of the first SHARE, of the latter ten times as many."""
    for mesh in meshes:
        await run.mesh(mesh, hostile_edits(mesh, run.counts, lambda: draw.randrange(EVERYTHING) < share), until, sys.maxsize)
    tried: Tried = set()
    for mesh in meshes:
        for base in mesh.snapshots():
            await run.ads.push({})
            await run.sent(mesh, base)
            for key, one in base.items():
                for what, spoiled in spoiled_resources(one, tried) if key[0] in MESSAGES else ():
                    if spoiled.problem:
                        run.problems[in_general(spoiled.problem)] += 1
                    if draw.randrange(EVERYTHING) < RESOURCES * share:
                        await run.spoiled(mesh, base, what, spoiled)


if __name__ == "__main__":
    arena.enter()
    sys.exit(asyncio.run(main(hostile, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
