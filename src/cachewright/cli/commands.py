"""All commands by name. The module of a command is imported when the command runs, which keeps the start fast."""

import sys
from collections.abc import Sequence

from cyclopts import App

import cachewright
from cachewright.cli import garbage
from cachewright.cli.exit import Exit
from cachewright.client.errors import CommandFailed

_INTERRUPTED = 130
_UNREAD = 1
_COMMANDS = (
    ("serve", "start:serve", "Serve the API and run caches on this host."),
    ("agent", "agent:agent", "Run nodes of a server on this host, on a shared PostgreSQL database."),
    ("demo", "start:demo", "Scale a live cluster out and in under traffic, and verify the result."),
    ("doctor", "doctor.command:doctor", "Check this host, a data directory and its server, and suggest fixes."),
    ("firewall", "firewall:firewall", "Print firewall rules that keep other users of this host away from nodes."),
    ("instances", "remote.instances:app", "Instances: list, show, quota, create, resize, restart, delete, parameters."),
    ("tasks", "remote.tasks:app", "Background tasks: list, show, watch, pause, resume, cancel, retry."),
    (
        "migrations",
        "remote.migrations:app",
        "Migrations of data from other servers: copy it into an instance, follow changes, cut over.",
    ),
    (
        "templates",
        "remote.templates:app",
        "Parameters for new instances: list, show, create, set, delete.",
    ),
    ("backups", "remote.backups:app", "Backups: list, create, restore, delete, links, download, verify."),
    ("plan", "remote.plan:app", "Preview a change without making it."),
    ("profiles", "remote.profiles:app", "Named servers and access keys."),
    (
        "hosts",
        "admin.hosts:app",
        "Hosts of nodes: list, show, add, grant, remove, drain, rebalance, cordon, uncordon, label.",
    ),
    ("servers", "admin.servers:app", "Servers that share the database: list, takeovers."),
    ("database", "admin.database:app", "The database of a server: copy it to PostgreSQL."),
    ("users", "admin.users:app", "Users and their roles in projects."),
    ("projects", "admin.projects:app", "Projects, to which instances and tasks belong."),
    ("keys", "admin.keys:app", "Access keys that sign requests."),
)

app = App(name="cachewright", version=cachewright.__version__, help=cachewright.__doc__.split("\n")[0])
for _name, _place, _help in _COMMANDS:
    app.command(f"cachewright.cli.{_place}", name=_name, help=_help)
app.register_install_completion_command()


def main() -> None:
    """Run the command line. An error of the user is one line on standard error; `docs/cli.md` lists the exit codes."""
    garbage.collect_rarely()
    process_exit = Exit()
    process_exit.status = run()


def run(words: Sequence[str] | None = None) -> int:
    """Run a command, by default that of this process, and return the exit status."""
    try:
        app(words)
    except CommandFailed as failed:
        print(f"cachewright: {failed}", file=sys.stderr)
        return failed.exit_code
    except (KeyboardInterrupt, EOFError):
        return _INTERRUPTED
    except BrokenPipeError:  # `head` and its like read only the first lines
        return _UNREAD
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    return 0
