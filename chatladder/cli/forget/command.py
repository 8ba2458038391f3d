"""Remove one member from the project: their records, the answers about their questions, and all derived data.

Example:
    chatladder forget "Ann Lee" --dry-run
    chatladder forget "Ann Lee"
    chatladder forget u1f0c22d4 --yes

NAME is any name of the member in the exports, or the pseudonym. In this order, so that the same command resumes after
it was killed: the member's mark is written to data/raw/members.forgotten, and ingest leaves them out from then on;
answers and marks about what they wrote are removed; derived data is removed, in DVC's cache too; exports whose records
are lines are rewritten without theirs. What it cannot do is listed, and the exit code is 1 until that is done. Commit
data/raw/members.forgotten: it holds no name, and without it a later export would bring them back.
"""

from pathlib import Path
from typing import Any

import click

from chatladder.chat.exports import forgotten_marks
from chatladder.cli.forget.derived import Derived, beyond, derived, items_of, keep_ids, remove_answers
from chatladder.cli.forget.exports import Exports, Removal, read_exports
from chatladder.cli.status import stages_in_words
from chatladder.io.console import SETTINGS, DataError, example, printable, stoppable
from chatladder.io.files import read_json, whole_file, write_json
from chatladder.io.params import PARAMS
from chatladder.privacy.pseudonyms import Pseudonyms

RAW = Path("data/raw")
LIST = RAW / "members.forgotten"
#: Others' answered questions under their former ids: those that named the member get new ones.
BEFORE = Path(".chatladder/before_forgetting.parquet")
#: The state of a removal that was killed.
STATE = Path(".chatladder/forgetting.json")
KEPT = "Completed steps stay; the same command resumes."
#: The most places and items to list.
MOST_TOLD = 20


def chosen(exports: Exports, name: str, only: tuple[str, ...]) -> list[str]:
    """Return the identities to forget.

    Raises:
        DataError: If several people have the name and none was chosen, or one was chosen who does not have it.
    """
    pseudonyms = {exports.person(identity): identity for identity in exports.called(name)}
    if unknown := [each for each in only if each not in pseudonyms]:
        raise DataError(f"--only {unknown[0]}: expected one of {', '.join(pseudonyms) or 'nobody'}.")
    if not only and len(pseudonyms) > 1:
        counts = [f"{each} ({exports.messages_of(identity):,} messages)" for each, identity in pseudonyms.items()]
        raise DataError(
            f"{len(counts)} members have this name: {', '.join(counts)}. Choose with --only, once for each."
        )
    return [pseudonyms[each] for each in dict.fromkeys(only or pseudonyms)]


def _remember(marks: list[str], check: str) -> None:
    lines = LIST.read_text(encoding="utf-8").splitlines() if LIST.exists() else []
    with whole_file(LIST) as temporary:
        wanted = dict.fromkeys([*lines, *(f"{check} {mark}" for mark in marks)])
        temporary.write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8", newline="\n")


def _tell(lines: list[str], heading: str = "", most: int | None = None) -> None:
    """Print lines, if there are any, below a heading."""
    if heading and lines:
        click.echo(heading)
    for line in lines[:most]:
        click.echo(f"  {printable(line)}")
    if most is not None and len(lines) > most:
        click.echo(f"  and {len(lines) - most:,} more")


def _plan(exports: Exports, people: list[str], made: Derived, answers: int) -> None:
    """Print what would be removed."""
    for identity in people:
        click.echo(f"{exports.person(identity)}: {exports.messages_of(identity):,} messages")
        _tell(exports.files_of(identity), most=MOST_TOLD)
    click.echo(f"This removes all answers and marks of their {answers:,} questions and turns, and these files:")
    _tell([str(path) for path in made.in_workspace()], most=MOST_TOLD)
    _tell([f"{len(made.in_cache()):,} versions of them in {made.cache}"])
    click.echo("Exports with one record a line are written again without their records. Only a backup undoes this.")


@click.command(name="forget", context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("name")
@click.option("--only", multiple=True, metavar="PSEUDONYM", help="Which member, if several have the name; repeatable.")
@click.option("--dry-run", is_flag=True, help="Print the changes without making them.")
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask for confirmation.")
@click.pass_context
def forget_command(context: click.Context, name: str, only: tuple[str, ...], dry_run: bool, is_agreed: bool) -> None:
    """Remove the member called NAME from the exports, the answers and all derived data.

    Exits with 1 while work in this folder remains to be done by hand.
    """
    if not Path("dvc.yaml").is_file():
        raise DataError("dvc.yaml: expected a project of chatladder here, got no such file. Run in its folder.")
    pseudonyms = Pseudonyms()
    forgotten = forgotten_marks(RAW, pseudonyms)
    state = _state(pseudonyms.mark(name))
    exports = read_exports(RAW, PARAMS, pseudonyms, may_be_empty=bool(state))
    begun = state.get("marks", ())
    people = [each for each in exports.aliases if pseudonyms.mark(each) in begun] or chosen(exports, name, only)
    if not people and not state:
        if pseudonyms.mark(name) in forgotten:
            click.echo("This member is forgotten already, and the exports hold nothing of theirs.")
            return
        raise DataError(
            "nobody in the exports has this name; nothing was changed. Give the name as the app shows it, or "
            "the pseudonym."
        )
    theirs = [pseudonyms.person(identity) for identity in people] or state["pseudonyms"]
    with derived(Path.cwd()) as made:
        items = None if state else items_of(Path("data"), theirs)
        if dry_run or not is_agreed:
            _plan(exports, people, made, len(items.questions | items.turns) if items else 0)
        if dry_run:
            return
        if not is_agreed and not click.confirm("Continue?"):
            raise DataError("nothing was changed.")
        with stoppable(KEPT):
            marks = [pseudonyms.mark(identity) for identity in people]
            _remember(marks, pseudonyms.check)
            if items is not None:
                keep_ids(BEFORE, items.others, theirs)
                state = {"asked": pseudonyms.mark(name), "marks": marks, "pseudonyms": theirs}
                state |= {"answers": remove_answers(Path("data"), items, theirs), "read_again": items.read_again}
                write_json(STATE, state)
            made.remove(keep=(STATE.resolve(), BEFORE.resolve()))
            hidden = Pseudonyms()
            hidden.forget(forgotten.union(marks))
            rewritten, left = Removal(exports, people, hidden).run()
            left += made.clear_cache(RAW)
            _report(state, made, rewritten, left)
    if left:
        context.exit(1)
    STATE.unlink(missing_ok=True)


def _state(asked: str) -> dict[str, Any]:
    """Return the state of a killed run of the same command; empty if there is none."""
    state = read_json(STATE) if STATE.exists() else {}
    return state if state.get("asked") == asked else {}


def _report(state: dict[str, Any], made: Derived, rewritten: list[Path], left: list[str]) -> None:
    click.echo(
        f"{', '.join(state['pseudonyms'])}: forgotten; {state['answers']:,} answers and marks removed, "
        f"{len(rewritten):,} exports written again. Commit the list: git add --force {LIST}"
    )
    tracked = [path for path in rewritten if path.with_name(f"{path.name}.dvc").exists()]
    _tell([f"{path} (kept by DVC: dvc add it again)" for path in tracked], most=MOST_TOLD)
    click.echo(f"dvc repro makes these again: {stages_in_words(made.stages)}")
    if BEFORE.exists():
        click.echo(
            "Questions of others that mention them get new ids. To keep the answers: dvc repro pick_questions, then "
            f"chatladder carry-answers --before {BEFORE}"
        )
    again = "Answered questions of others that lose a part of their history; read them again:"
    _tell(state["read_again"], again)
    _tell(beyond(Path.cwd(), made.remotes), "Not reached by this command:")
    _tell(left, "Do this yourself, then run the same command again:")
