"""LSEG's own package: each row by ``omm_stream.contribute``, or 16 at a time by ``contribute_async``.

Run with a Python that has ``lseg-data``; prints the seconds from the open session to the last Ack.
"""

from __future__ import annotations

import asyncio
import sys
import time

import lseg.data as ld
import pandas as pd
from lseg.data.delivery import omm_stream

AT_ONCE = 16


def main(port: str, file: str, rows: str, way: str) -> None:
    session = ld.session.platform.Definition(
        app_key="bench",
        deployed_platform_host=f"127.0.0.1:{port}",
        deployed_platform_username="u",
    ).get_session()
    session.open()
    ld.session.set_default(session)
    table = pd.read_csv(file, nrows=int(rows)).set_index("RIC")
    posts = [(ric, row.to_dict()) for ric, row in table.iterrows()]
    start = time.perf_counter()
    if way == "async":
        asyncio.run(contribute_all(posts))
    else:
        for ric, fields in posts:
            expect(omm_stream.contribute(ric, fields, service="S", contrib_type="Refresh"))
    print(time.perf_counter() - start)
    session.close()


async def contribute_all(posts: list[tuple[str, dict[str, float]]]) -> None:
    """AT_ONCE posts at a time."""
    waiting = iter(posts)

    async def work() -> None:
        for ric, fields in waiting:
            expect(await omm_stream.contribute_async(ric, fields, service="S", contrib_type="Refresh"))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def expect(response: object) -> None:
    if not response.is_success:
        raise SystemExit(f"not acknowledged: {response.error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
