"""Every command by its name. A command's module is loaded when it is called: most need little of the program."""

import sys

from cyclopts import App

import cachewright
from cachewright.client.errors import CommandFailed

_INTERRUPTED = 130
_COMMANDS = (
    ("serve", "start:serve", "Serve the API and run caches on this machine."),
    ("demo", "start:demo", "Scale a live cluster out and in under traffic, and check everything."),
    ("doctor", "doctor:doctor", "Check this machine, a data folder and its server, and say what to mend."),
    ("firewall", "firewall:firewall", "Print firewall rules against other users of this machine."),
    ("instances", "remote.instances:app", "Instances: list, show, quota, create, resize, restart, delete, parameters."),
    ("tasks", "remote.tasks:app", "Background tasks: list, show, watch, pause, resume, cancel, retry."),
    ("plan", "remote.plan:app", "What a change would do; nothing is touched."),
    ("profiles", "remote.profiles:app", "Servers and keys to use, by name."),
    ("users", "admin.users:app", "Users, and what they may do in which project."),
    ("projects", "admin.projects:app", "Projects: what instances, tasks and roles belong to."),
    ("keys", "admin.keys:app", "Keys that requests are signed with."),
)

app = App(name="cachewright", version=cachewright.__version__, help=cachewright.__doc__.split("\n")[0])
for _name, _place, _help in _COMMANDS:
    app.command(f"cachewright.cli.{_place}", name=_name, help=_help)
app.register_install_completion_command()


def main() -> None:
    """Whatever a person can do wrong is told in a line; the exit codes are in `docs/cli.md`."""
    try:
        app()
    except CommandFailed as failed:
        print(f"cachewright: {failed}", file=sys.stderr)
        sys.exit(failed.exit_code)
    except (KeyboardInterrupt, EOFError):
        sys.exit(_INTERRUPTED)
