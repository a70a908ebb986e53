"""The command line: a list of commands, each a few lines. What a command does stands in `tools/`, `streams/` and `serving/`.

Everything heavy is imported where it is used, so that `upwell --help` answers at once.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer import Argument, Option

if TYPE_CHECKING:
    from config.settings import Settings

app = typer.Typer(
    help="Upwell: a real-time streaming recommender. Start with `upwell up`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
topics_app = typer.Typer(help="The topics of a system.", no_args_is_help=True)
dead_app = typer.Typer(help="What could not be processed.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(dead_app, name="dead")

Api = Annotated[str, Option("--api", help="Address of the API; default: that of a running `upwell up`, else the settings'.")]
Json = Annotated[bool, Option("--json", help="One JSON value per line, for programs.")]
DataDir = Annotated[Path, Option("--data-dir", help="Where `upwell up` keeps logs and addresses.")]
DATA_DIR = Path(".upwell")


def settings(local: bool = False) -> Settings:
    """The effective settings; with `local`, a running `upwell up` here names Kafka and Redis when nothing else does.

    A ladder of pools that is none stops every command, before it connects to anything.
    """
    from config.log import for_a_command
    from config.settings import load
    from models.pool import configured
    from tools.up import environment

    effective = load(environ=environment(DATA_DIR) if local else environment(None))
    configured(effective)
    for_a_command(effective.log)  # services configure theirs
    return effective


def shown_version(value: bool) -> None:
    if value:
        typer.echo(f"upwell {metadata.version('upwell')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, Option("--version", callback=shown_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Settings come from config/default.toml, the file named by UPWELL_CONFIG, and UPWELL_SECTION__NAME in the environment."""


# -------------------------------------------------------------------------------------------------------------- processes


@app.command()
def up(
    town: Annotated[bool, Option("--town/--no-town", help="With or without demo traffic.")] = True,
    port: Annotated[int | None, Option(help="Of the API; 0: a free one; default: 8780, or a free one when that is taken.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Everything on this machine: broker, store, worker, API and a demo town.

    Example: upwell up --no-town --port 9000
    """
    from tools.up import run

    settings()  # what cannot be used stops the start here, not in each of its processes
    raise typer.Exit(run(data_dir, port, town=town, found=data_dir == DATA_DIR))


@app.command()
def worker(stages: Annotated[str, Option(help="Comma-separated; default: all.")] = "") -> None:
    """The stream stages, until SIGTERM.

    Example: upwell worker --stages users,notes
    """
    from streams.engine import available, run

    names = [name.strip() for name in stages.split(",") if name.strip()]
    unknown = [name for name in names if name not in available()]
    if unknown:
        fail(f"unknown stage {', '.join(unknown)}: there are {', '.join(available())}")
    run(settings(), names or None)


@app.command()
def api(host: Annotated[str, Option(help="Default: api.host.")] = "", port: Annotated[int, Option(help="Default: api.port.")] = -1) -> None:
    """The HTTP API, until SIGTERM.

    Example: upwell api --host 0.0.0.0 --port 8780
    """
    from serving.app import run

    effective = settings()
    run(effective, host or effective.api.host, effective.api.port if port < 0 else port)


@app.command(hidden=True)
def town(address: Api = "", seed: int = 7) -> None:
    """The demo town alone: simulated people on a running API.

    Example: upwell town --api http://127.0.0.1:8780
    """
    from tools.town import run

    run(api_address(address), settings(local=True).api.key_for("produce", "read"), seed)


# ------------------------------------------------------------------------------------------------------------- operations


@topics_app.command("create")
def topics_create() -> None:
    """Create what is missing; what exists is left alone.

    Example: UPWELL_KAFKA=kafka:9092 upwell topics create
    """
    from tools import topics

    made = topics.create(settings(local=True).kafka)
    typer.echo("\n".join(f"created {name}" for name in made) or "all topics exist")


@topics_app.command("check")
def topics_check() -> None:
    """Compare the topics with what they should be; exit 1 when something differs.

    Example: upwell topics check
    """
    from tools import topics

    problems = topics.check(settings(local=True).kafka)
    typer.echo("\n".join(problems) or "all topics are as they should be")
    raise typer.Exit(1 if problems else 0)


@app.command()
def lag(
    watch: Annotated[bool, Option("--watch", help="Every second, until Ctrl-C.")] = False,
    as_json: Json = False,
    max_seconds: Annotated[float, Option(help="Exit 1 when a stage is further behind than this.")] = -1.0,
) -> None:
    """How far each stage stands behind its log, by the store's checkpoints.

    Example: upwell lag --max-seconds 60
    """
    from tools.show import lag as show

    raise typer.Exit(show(settings(local=True), watch=watch, as_json=as_json, max_seconds=max_seconds))


@app.command()
def replay(
    files: Annotated[list[Path], Argument(help="JSON lines of events and notes.", show_default=False)],
    speed: Annotated[float, Option(help="1: as it happened, 60: a minute a second; default: as fast as it goes.")] = 0.0,
    shift_to: Annotated[str, Option(help="`now` moves all times to the present.")] = "",
    check: Annotated[bool, Option("--check", help="Only validate.")] = False,
) -> None:
    """Send files of events and notes; sending them again changes nothing.

    Example: upwell replay notes.jsonl events.jsonl --shift-to now
    """
    from tools.show import checked, replayed

    if shift_to not in ("", "now"):
        fail(f"--shift-to {shift_to}: only `now` is known")
    if speed < 0:
        fail("--speed must be above 0")
    if check:
        raise typer.Exit(checked(settings(), files))
    replayed(settings(local=True), files, speed or None, to_now=shift_to == "now")


@app.command()
def send(
    type: Annotated[str, Argument(help="Such as `like`; `-` reads JSON from stdin.", show_default=False)] = "-",
    user: Annotated[str, Option("--user", help="user_id")] = "",
    note: Annotated[str, Option("--note", help="note_id")] = "",
    field: Annotated[list[str] | None, Option("--field", help="Another field, as name=value (value is JSON or text).")] = None,
) -> None:
    """Send one event, from flags or from stdin.

    Example: upwell send like --user u1 --note n1
    """
    from tools.send import from_flags, from_stdin, one

    body = from_stdin(sys.stdin.buffer) if type == "-" else from_flags(type, user, note, field or [])
    typer.echo(one(settings(local=True), body))


@app.command()
def tail(
    user: Annotated[str, Option("--user", help="Only this user.")] = "",
    as_json: Json = False,
    from_start: Annotated[bool, Option("--from-start", help="All that the log holds, then what comes.")] = False,
) -> None:
    """Events as they are applied (the log that the users stage reads), until Ctrl-C.

    Example: upwell tail --user u1
    """
    from tools.tail import follow

    follow(settings(local=True), user, as_json=as_json, from_start=from_start)


Reason = Annotated[str, Option(help="Only this reason.")]
Source = Annotated[str, Option(help="Only what came from this topic: events, notes, by-user, …")]
Since = Annotated[str, Option(help="Only letters since then: 2h (ago), or 2026-01-31T18:00:00Z.")]
Until = Annotated[str, Option(help="Only letters before then.")]


@dead_app.command("list")
def dead_list(
    reason: Reason = "",
    topic: Source = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, Option(help="Newest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """What could not be processed, and why.

    Example: upwell dead list --reason bad_field --since 2h
    """
    from tools.dead import picked, show

    show(settings(local=True), picked(reason, topic, since, until), limit, as_json=as_json)


@dead_app.command("retry")
def dead_retry(
    reason: Reason = "",
    topic: Source = "",
    since: Since = "",
    until: Until = "",
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be sent.")] = False,
) -> None:
    """Send public records once more to the topic they came from; once each, however often this is run.

    Example: upwell dead retry --reason unknown_type
    """
    from tools.dead import picked, retry

    typer.echo(retry(settings(local=True), picked(reason, topic, since, until), dry_run=dry_run))


@app.command()
def rebuild(
    stage: Annotated[str, Argument(help="users, notes, …; default: all that keep state.")] = "",
    metrics_port: Annotated[int, Option(help="Of upwell_restore_remaining_records; 0: a free one; default: none.")] = -1,
    accept_loss: Annotated[bool, Option("--accept-loss", help="Fold what is kept, where a log's beginning was deleted.")] = False,
) -> None:
    """Fold state again from the logs, beside the live one, and put it in its place. Also after the store lost everything.

    Example: upwell rebuild notes
    """
    from tools.rebuild import run

    run(settings(local=True), [stage] if stage else [], metrics_port, accept_loss=accept_loss)


@app.command()
def simulate(
    world: Annotated[Path, Option(help="JSON file in the format of tools/worlds/*.json.")],
    seeds: Annotated[int, Option(min=1, help="Worlds drawn from it.")] = 10,
    policy: Annotated[str, Option(help="Only this one, also `upwell, drawn by feeds`; default: the usual rules and upwell.")] = "",
    plot: Annotated[Path | None, Option(help="Write exposures over time of the best, median and worst notes (SVG).")] = None,
    live: Annotated[bool, Option("--live", help="In a system that is started for it: broker, store, worker, two APIs.")] = False,
    notes: Annotated[int, Option(min=20, help="With --live: so many notes, and exposures in proportion.")] = 500,
    kill: Annotated[int, Option(help="With --live: kill -9 the worker in this hour of the world; -1: never.")] = -1,
    as_json: Json = False,
) -> None:
    """The pool policy in a world of notes whose quality is hidden from it, beside the usual rules.

    Example: upwell simulate --world tools/worlds/high.json --seeds 10
    """
    from tools import simulate as simulation

    simulation.command(world, seeds, policy, as_json, plot, live, notes, kill)


@app.command("eval")
def evaluate(
    files: Annotated[list[Path], Argument(help="JSON lines of events and notes.", show_default=False)],
    warmup: Annotated[int, Option(min=0, help="So many first engagements are only learned from.")] = 10_000,
    surface: Annotated[str, Option(help="feed or nearby.")] = "feed",
    shift: Annotated[int, Option(min=0, help="Also: so many users change their interest overnight.")] = 0,
    seed: Annotated[int, Option(help="Of the choice of those users.")] = 1,
    limit: Annotated[int, Option(min=0, help="Only the first so many lines; 0: all.")] = 0,
    plot: Annotated[Path | None, Option(help="A PNG of HR over time and by user age.")] = None,
    as_json: Json = False,
) -> None:
    """How good the feed is, on real logs: before an engagement is learned from, the feed is asked for it. In process, no broker.

    Example: upwell eval notes.jsonl events.jsonl --plot quality.png
    """
    from tools.evaluate import show

    show(settings(), files, warmup, surface, shift, seed, limit, plot, as_json=as_json)


@app.command()
def bench(
    names: Annotated[
        list[str] | None, Argument(help="Which; default: all. Their tables in benchmarks/README.md are made anew.", show_default=False)
    ] = None,
) -> None:
    """How fast it is on this machine: tables of ratios and figures. Needs a checkout of the repository.

    Example: upwell bench whole_job
    """
    import subprocess

    root = Path(__file__).resolve().parent
    if not (root / "benchmarks").is_dir():
        fail("the benchmarks are part of the repository, not of the package: run this in a checkout")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "benchmarks", *(names or [])], cwd=root, check=False).returncode)


@app.command()
def doctor() -> None:
    """What is reachable, what is wrong, and what to do; exit 1 when something is wrong.

    Example: upwell doctor
    """
    from tools.doctor import run

    raise typer.Exit(run(settings(local=True), api_address("")))


@app.command()
def config() -> None:
    """The effective settings, secrets masked.

    Example: UPWELL_KAFKA__PARTITIONS=64 upwell config
    """
    from config.settings import masked
    from tools.show import toml

    typer.echo(toml(masked(settings(local=True))))


# ----------------------------------------------------------------------------------------------------------- for people


@app.command()
def feed(
    user: Annotated[str, Argument(show_default=False)],
    n: Annotated[int, Option("-n", help="So many notes.")] = 10,
    surface: Annotated[str, Option(help="feed, following, nearby or hot.")] = "feed",
    channel: Annotated[str, Option(help="Only this channel.")] = "",
    as_json: Json = False,
    address: Api = "",
) -> None:
    """What a user would see now, and why. It is a real feed: what it shows counts as served.

    Example: upwell feed u1 -n 5
    """
    from tools import people

    people.feed(ask(address), user, n, surface, channel, as_json=as_json)


@app.command()
def note(note_id: Annotated[str, Argument(show_default=False)], as_json: Json = False, address: Api = "") -> None:
    """A note's counters, pool and history.

    Example: upwell note n1
    """
    from tools import people

    people.note(ask(address), note_id, as_json=as_json)


@app.command()
def user(user_id: Annotated[str, Argument(show_default=False)], as_json: Json = False, address: Api = "") -> None:
    """What the system believes about a user.

    Example: upwell user u1
    """
    from tools import people

    people.user(ask(address), user_id, as_json=as_json)


@app.command()
def pools(
    as_json: Json = False,
    watch: Annotated[bool | None, Option("--watch/--once", help="Every second, or once; default: every second on a terminal.")] = None,
    address: Api = "",
) -> None:
    """The traffic pools, tier by tier, live.

    Example: upwell pools
    """
    from tools import people

    people.pools(ask(address), as_json=as_json, watch=watch)


# ------------------------------------------------------------------------------------------------------------------ frame


def api_address(given: str) -> str:
    """The flag, a running `upwell up` here, or the settings."""
    from tools.up import addresses

    if given:
        return given.rstrip("/")
    running = addresses(DATA_DIR)
    if running:
        return running["api"]
    effective = settings().api
    return f"http://{'127.0.0.1' if effective.host in ('0.0.0.0', '::') else effective.host}:{effective.port}"


def ask(address: str) -> Any:
    from tools.people import Asker

    return Asker(api_address(address), settings().api.key_for("read"))


def fail(message: str) -> NoReturn:
    typer.echo(f"upwell: {message}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Runs a command; what a user can put right is one line, and anything else a bug with its traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if not known(error):
            raise
        away = " (is the store running? UPWELL_REDIS names it)" if type(error).__name__ == "StoreError" else ""
        typer.echo(f"upwell: {error}{away}", err=True)
        sys.exit(1)


def known(error: Exception) -> bool:
    """Errors whose message is meant for the user; by name, so that nothing is imported for it."""
    names = {"Mistake", "SettingsError", "BrokerError", "StoreError", "ManifestError", "PartError"}
    return bool(names & {kind.__name__ for kind in type(error).__mro__})


if __name__ == "__main__":
    main()
