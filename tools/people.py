"""Feeds, notes, users and pools for people, asked of the HTTP API."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tools.mistake import Mistake


class Asker:
    """The API at one address; every answer that is no 2xx is a `Mistake` with what the API said."""

    def __init__(self, address: str, key: str = "", timeout_s: float = 10.0) -> None:
        self.address, self.key, self.timeout_s = address.rstrip("/"), key, timeout_s

    def get(self, path: str, **query: Any) -> Any:
        asked = {name: value for name, value in query.items() if value not in ("", None)}
        return self.call("GET", path + (f"?{urlencode(asked)}" if asked else ""))

    def post(self, path: str, body: Any) -> Any:
        return self.call("POST", path, json.dumps(body).encode())

    def call(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({"X-API-Key": self.key} if self.key else {})
        try:
            request = urllib.request.Request(self.address + path, body, headers, method=method)
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Mistake(f"{self.address} answered {error.code}: {problem(error.read())}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Mistake(
                f"the API at {self.address} does not answer ({reason}): is `upwell up` or `upwell api` running? --api names it"
            ) from None


def terminal() -> Console:
    """A console on which names and titles are text, and nothing else: no markup of ours."""
    return Console(markup=False, highlight=False)


def printable(text: object) -> str:
    """`text` without what a terminal would take for an order.

    >>> printable("a\\x1b[2Jb")
    'a·[2Jb'
    """
    return "".join(letter if letter.isprintable() else "·" for letter in str(text))


def problem(body: bytes) -> str:
    """What an RFC 9457 answer says."""
    try:
        told = json.loads(body)
        return str(told.get("detail") or told.get("title") or told)
    except (ValueError, AttributeError):
        return " ".join(body[:200].decode(errors="replace").split())[:100] or "nothing"


def feed(api: Asker, user: str, n: int, surface: str, channel: str, *, as_json: bool) -> None:
    """A feed: what, from where, and why."""
    if surface not in ("feed", "following", "nearby", "hot"):
        raise Mistake(f"unknown surface {surface}: feed, following, nearby or hot")
    path = "/v1/hot" if surface == "hot" else f"/v1/feed/{quote(user, safe='')}" + ("" if surface == "feed" else f"/{surface}")
    answer = api.get(path, n=n, channel=channel)
    if as_json:
        print(json.dumps(answer))
        return
    console = terminal()
    console.print(feed_table(answer))
    about = f"{answer['took_ms']} ms, state as of {when(answer.get('state_as_of'))}, request {answer['request_id']}"
    console.print(about + (f", degraded: {answer['degraded']}" if answer.get("degraded") else ""), style="dim", highlight=False)


def feed_table(answer: dict[str, Any]) -> Table:
    table = Table("", "note", "title", "tags", "source", "why", box=None, pad_edge=False)
    for item in answer["items"]:
        table.add_row(
            str(item["position"]),
            printable(item["note_id"]),
            printable(item.get("title") or "")[:40],
            printable(" ".join(item.get("tags") or []))[:40],
            ("pool " if item.get("pool") else "") + (item.get("source") or ""),
            printable("; ".join(map(words, (item.get("reasons") or [])[:2]))),
        )
    return table


REASONS = {
    "follow": "you follow {author_id}",
    "interest_tag": "because you like {tag}",
    "interest_author": "more from {author_id}",
    "interest_channel": "because you like {channel}",
    "signup_tag": "you chose {tag}",
    "channel": "popular in {channel}",
    "nearby": "{distance_m} m away",
    "behaviour": "like what was taken lately",
    "similar": "taken together with that note",
    "pool": "new here",
    "hot": "popular now",
    "sponsored": "sponsored",
}
"""Reason codes of the API in words."""


def words(reason: Any) -> str:
    """A reason for people; one of a later version as it stands."""
    if not isinstance(reason, dict):
        return str(reason)
    code, rest = reason.get("code", ""), {name: value for name, value in reason.items() if name != "code"}
    if code == "pool" and rest.get("tier"):
        return f"on its way up (tier {rest['tier']})"
    if code == "friend":
        done = {"like": "liked", "collect": "collected", "share": "shared"}.get(str(rest.get("action")), "found")
        return f"{rest.get('user_id')} {done} this"
    if code == "nearby" and "city" in rest:
        return f"in {rest['city']}"
    try:
        return REASONS[code].format(**rest)
    except KeyError:
        return " ".join([str(code), *map(str, rest.values())])


def note(api: Asker, note_id: str, *, as_json: bool) -> None:
    """A note's counters, pool and history."""
    told = api.get(f"/v1/notes/{quote(note_id, safe='')}")
    if as_json:
        print(json.dumps(told))
        return
    console = terminal()
    console.print(printable(f"{told['note_id']}  {told.get('title') or ''}"), style="bold")
    tags = ", ".join(told.get("tags") or []) or "-"
    console.print(printable(f"by {told['author_id']}, {told['status']}, channel {told.get('channel') or '-'}, tags {tags}"))
    console.print("counts     " + (", ".join(f"{name} {n:,}" for name, n in told["counts"].items() if n) or "none yet"))
    exposures, pool, quality = told["exposures"], told["pool"], told["quality"]
    console.print(f"exposures  {exposures['organic']:,} organic, {exposures['paid']:,} paid")
    console.print(f"pool       tier {pool['tier']}, {pool['state']}, {pool['left']} of {pool['quota']} exposures left")
    if quality.get("mean") is not None:
        console.print(f"quality    {quality['mean']:.2f} ({quality['low']:.2f} to {quality['high']:.2f})")
    for move in told["history"]:
        console.print(f"  {move['seq']:>3}  {when(move['at'])}  {tier(move['from'])} → {tier(move['to'])}  {move['verdict']}")
        if why := grounds(move):
            console.print(f"       {why}", style="dim")


def grounds(move: dict[str, Any]) -> str:
    """What a move was decided on: the evidence, and the bar at that moment."""
    evidence, bar = move["evidence"], move["bar"]
    expected = evidence.get("expected", {})
    counts = [
        f"{n:,} {name} ({expected[name]:.1f} expected)" for name, n in evidence.get("observed", {}).items() if n or expected[name] >= 1.0
    ]
    words = [f"{evidence['exposures']:,} exposures", *counts]
    if bar.get("value"):
        words.append(f"{evidence['probability']:.0%} sure to be worth more than {bar['value']:.3f} an exposure")
    return ", ".join(words)


def tier(number: int | None) -> str:
    """None is outside of the pools."""
    return "-" if number is None else str(number)


def user(api: Asker, user_id: str, *, as_json: bool) -> None:
    """What the system believes about a user, strongest first."""
    told = api.get(f"/v1/users/{quote(user_id, safe='')}/interests")
    if as_json:
        print(json.dumps(told))
        return
    console = terminal()
    if not told["interests"]:
        console.print(f"nothing is known of {user_id} yet")
        return
    console.print(interests_table(told))


def interests_table(told: dict[str, Any], limit: int = 20) -> Table:
    table = Table("kind", "value", "weight", "short", "long", "moved by", box=None, pad_edge=False)
    for one in told["interests"][:limit]:
        by = one.get("moved_by") or {}
        moved = f"{by.get('type', '')} {by.get('note_id') or ''} {when(by.get('at'))}".strip()
        table.add_row(
            one["kind"], printable(one["value"]), *(f"{one[name]:+.2f}" for name in ("weight", "short", "long")), printable(moved)
        )
    return table


def pools(api: Asker, *, as_json: bool, watch: bool | None) -> None:
    """The tiers, once or every second; None: every second on a terminal, until it is interrupted."""
    if as_json:
        print(json.dumps(api.get("/v1/pools")))
        return
    console = terminal()
    if not (console.is_terminal if watch is None else watch):
        console.print(pools_table(api.get("/v1/pools")))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(pools_table(api.get("/v1/pools")), refresh=True)
            time.sleep(1)


def pools_table(told: dict[str, Any]) -> Table:
    names = ("quota", "notes", "exposures", "promoted", "held", "stopped", "owed")
    table = Table("tier", "", *names, box=None, pad_edge=False)
    for tier in told["tiers"]:
        table.add_row(
            str(tier["tier"]), printable(tier.get("name", "")), *("∞" if tier.get(name) is None else f"{tier[name]:,}" for name in names)
        )
    return table


def when(moment: Any) -> str:
    """Epoch milliseconds or RFC 3339, shortly."""
    if moment in (None, ""):
        return "-"
    if isinstance(moment, int | float):
        return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return str(moment)[:19].replace("T", " ")
