"""The command `latentwatch review`: the web page on which people judge alerts."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.shutdown import closing_all, stop_on_signals
from monitor.cli.wiring import load_sets, load_settings
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config.sections import Config
    from monitor.review.access import Access
    from monitor.review.feed import Intake

log = logging.getLogger("monitor")


def review(
    alerts: Annotated[
        Path | None,
        typer.Option(
            help="JSONL file of alerts, read as it grows (default: the topic of sinks.kafka).", show_default=False
        ),
    ] = None,
    config: ConfigOption = None,
    database: Annotated[
        str, typer.Option(help="sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME.")
    ] = "sqlite:///review.sqlite",
    database_url_file: Annotated[
        Path | None, typer.Option(help="File that holds the URL instead, because it has a password.")
    ] = None,
    group: Annotated[str, typer.Option(help="Consumer group for the alert topic.")] = "latentwatch-review",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 picks a free one.")] = 8_002,
    token_file: Annotated[
        Path | None, typer.Option(help="File of reviewers: NAME ROLE TOKEN a line; a role is read or review.")
    ] = None,
    user_header: Annotated[
        str | None, typer.Option(help="Header in which a reverse proxy names the reviewer.", show_default=False)
    ] = None,
    role_header: Annotated[
        str | None,
        typer.Option(help="Header in which it says read or review (default: review for all).", show_default=False),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of the proxy; repeatable (default: this machine).", show_default=False),
    ] = None,
    keep_days: Annotated[
        int, typer.Option(min=1, help="Delete alerts without a verdict so many days after they were stored.")
    ] = 90,
    read_again: Annotated[
        bool,
        typer.Option("--read-again", help="Let reviewers read texts again from Kafka if alerts carry none."),
    ] = False,
    trace_url: Annotated[
        str | None, typer.Option(help="URL of a trace, with {trace_id} in it.", show_default=False)
    ] = None,
    record_url: Annotated[
        str | None,
        typer.Option(
            help="URL of a record in a Kafka UI, with {topic}, {partition} and {offset} in it.", show_default=False
        ),
    ] = None,
) -> None:
    """Serve the review page: look at alerts, judge them, see the precision of each set, export labelled rows."""
    settings = load_settings(config)
    from monitor.telemetry.log import configure_logging

    configure_logging(settings.log)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        from monitor.review.access import OpenAccess, TokenAccess, proxy_access
        from monitor.review.app import ReviewSettings, review_app
        from monitor.review.database import open_database
        from monitor.review.feed import Feed
    except ModuleNotFoundError as e:
        raise ConfigError(f"latentwatch review needs {e.name}; run: pip install 'latentwatch[review]'") from None
    from monitor.review.alert_view import Links
    from monitor.review.event_text import EventTexts
    from monitor.review.proposal import ConfigFile
    from monitor.review.server import serve

    _check(host, token_file, user_header, role_header, proxy)
    access: Access = OpenAccess()
    if token_file is not None:
        access = TokenAccess(token_file)
    elif user_header is not None:
        access = proxy_access(user_header, role_header, proxy or [])
    links = Links.checked(trace_url, record_url)
    intake, what = _intake(settings, alerts, group)
    sets = {loaded.set.id: loaded.set for loaded in load_sets(settings)}
    engine = open_database(database if database_url_file is None else _url_in(database_url_file))
    with closing_all() as opened:
        opened.append(engine.dispose)
        feed = Feed(engine, intake, keep_days)
        opened.append(feed.close)
        log.info("storing alerts from %s in %s", what, engine.url.render_as_string(hide_password=True))
        texts = EventTexts(settings) if read_again else None
        changed = None if config is None else ConfigFile(config)
        shown = ReviewSettings(sets, links, lambda: feed.trouble, texts, changed)
        stop = stop_on_signals("requests under way")
        serve(review_app(engine, access, shown), host, port, stop)


def _check(
    host: str, token_file: Path | None, user_header: str | None, role_header: str | None, proxy: list[str] | None
) -> None:
    from monitor.config.sections import LOOPBACK

    problems = []
    if token_file is not None and user_header is not None:
        problems.append("--token-file and --user-header: choose one way to say who a reviewer is")
    if user_header is None and (role_header is not None or proxy):
        problems.append("--role-header and --proxy: only with --user-header")
    if host not in LOOPBACK and token_file is None and user_header is None:
        problems.append(
            f"--host: {host} can be reached from other machines: add --token-file, or --user-header behind a proxy"
        )
    if problems:
        raise ConfigError(problems)


def _intake(settings: Config, alerts: Path | None, group: str) -> tuple[Intake, str]:
    from monitor.review.feed import TopicIntake
    from monitor.review.growing_file import GrowingFile

    if alerts is not None:
        return GrowingFile(alerts), str(alerts)
    topics = settings.sinks.enabled()["kafka"].kafka_topics() if "kafka" in settings.sinks.enabled() else {}
    if not topics:
        raise ConfigError("sinks.kafka is not enabled: enable it, or name a file with --alerts")
    topic = next(iter(topics.values()))
    return TopicIntake(settings, topic, group), f"topic {topic} as group {group}"


def _url_in(file: Path) -> str:
    url = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        url = file.read_text(encoding="utf-8").strip()
    if not url:
        raise ConfigError(f"--database-url-file: {file}: cannot be read, or is empty")
    return url
