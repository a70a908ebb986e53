"""`upwell rebuild`: state folded again from the logs, with progress and time left. How it is done: `streams/rebuild.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, start_http_server
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from config import metrics
from config.settings import Settings
from store.open import open_store
from streams.engine import available
from streams.owner import Stop
from streams.rebuild import Progress, Rebuild, RebuildError
from tools.mistake import Mistake


def run(settings: Settings, stages: Sequence[str], metrics_port: int, *, accept_loss: bool) -> None:
    """Raises `Mistake` when it cannot be done; whatever stood before stands then."""
    stateful = [name for name in available() if name != "intake"]
    unknown = [name for name in stages if name not in stateful]
    if unknown:
        raise Mistake(f"{', '.join(unknown)} keeps no state to rebuild: there are {', '.join(stateful)}")
    console = Console(stderr=True)
    if metrics_port >= 0:
        # Only the one gauge: what is folded again must not be counted again.
        registry = CollectorRegistry()
        registry.register(metrics.RESTORE_REMAINING)
        server, _ = start_http_server(metrics_port, addr="127.0.0.1", registry=registry)
        console.print(f"metrics http://127.0.0.1:{server.server_port}/metrics", highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )

    async def go() -> list[str]:
        store = open_store(settings)
        tasks: dict[str, tuple[TaskID, float]] = {}
        with Bars(*columns, console=console) as bars:

            def told(one: Progress) -> None:
                if one.stage not in tasks:
                    tasks[one.stage] = bars.add_task(one.stage, total=one.total, rate=""), time.monotonic()
                task, began = tasks[one.stage]
                rate = one.done / max(time.monotonic() - began, 1e-9)
                bars.update(task, completed=one.done, total=one.total, rate=f"{rate:,.0f}/s")

            try:
                return await Rebuild(settings, store, told, accept_loss=accept_loss).run(stages)
            except (RebuildError, Stop) as error:
                raise Mistake(str(error)) from None
            finally:
                await store.close()

    for line in asyncio.run(go()):
        print(line)
