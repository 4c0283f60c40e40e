"""`comface models list|show|promote`: the registry."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from comface.commands.configured import add_configuration, configuration
from comface.store import Store, open_store

REFERENCE = "NAME, NAME@v3, NAME@champion, a URI or a path (default: comface@champion, else the newest comface)"


def add_commands(commands: Any) -> None:
    models = commands.add_parser("models", help="the registry: list, show, promote", description="The model registry.")
    verbs = models.add_subparsers(metavar="VERB", required=True)
    listing = _verb(verbs, "list", "all versions, newest last")
    showing = _verb(verbs, "show", "one model: its card, tasks and files")
    showing.add_argument("reference", nargs="?", metavar="REF", help=REFERENCE)
    promoting = _verb(verbs, "promote", "make a version the champion, which challengers must not fall below")
    promoting.add_argument("reference", metavar="REF", help="NAME@v3, or NAME for its newest version")
    for parser, action in ((listing, list_), (showing, show), (promoting, promote)):
        add_configuration(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(action=action)


def _verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser


def _store(arguments: argparse.Namespace) -> Store:
    return open_store(configuration(arguments).store)


def list_(arguments: argparse.Namespace) -> None:
    from comface.models.listing import list_models, models_text

    rows = list_models(_store(arguments))
    print(json.dumps(rows, indent=1) if arguments.json else models_text(rows))


def show(arguments: argparse.Namespace) -> None:
    from comface.models.listing import model_text, show_model

    shown = show_model(_store(arguments), arguments.reference)
    print(json.dumps(shown, indent=1) if arguments.json else model_text(shown))


def promote(arguments: argparse.Namespace) -> None:
    from comface.models.listing import promote_model

    done = promote_model(_store(arguments), arguments.reference, datetime.now(UTC))
    before = f" (before: {done['before']})" if done["before"] else ""
    print(json.dumps(done) if arguments.json else f"{done['reference']} is the champion now{before}")
