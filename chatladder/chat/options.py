"""Settings for reading exports, shared by every command that reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import click

from chatladder.chat.formats import NAMES
from chatladder.chat.message import Context
from chatladder.io.options import setting
from chatladder.privacy.pseudonyms import Pseudonyms

DATE_ORDERS = ("auto", "dmy", "mdy", "ymd")


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise click.BadParameter(
            f"expected a name of the IANA database such as Asia/Shanghai, got {name!r}."
        ) from error
    return name


def _country(name: str) -> str:
    from phonenumbers import SUPPORTED_REGIONS

    if name not in SUPPORTED_REGIONS:
        raise click.BadParameter(f"expected a country of ISO 3166 such as GB, got {name!r}.")
    return name


def _mapping(pair: str) -> str:
    if not all(pair.partition("=")[::2]):
        raise click.BadParameter("expected OURS=THEIRS, for example sender=from_name.")
    return pair


@dataclass(frozen=True)
class MaskingOptions:
    """The personal data to mask in addition to what is always masked."""

    phone_region: tuple[str, ...] = setting(
        "Country whose phone numbers are masked without their +, too, such as GB; repeatable.",
        default=(),
        type=click.types.FuncParamType(_country),
        metavar="COUNTRY",
    )


@dataclass(frozen=True)
class ExportOptions(MaskingOptions):
    """How exports are read and masked."""

    format: str = setting(
        "Format of the exports; auto detects it from each file's content.", default="auto", choices=("auto", *NAMES)
    )
    timezone: str = setting(
        "Time zone of exports with local times without an offset, such as Asia/Shanghai.",
        default="UTC",
        parse=_timezone,
    )
    date_order: str = setting(
        "Order of day and month in ambiguous dates; auto detects it from the whole file.",
        default="auto",
        choices=DATE_ORDERS,
    )
    column: tuple[str, ...] = setting(
        "Column of a table; repeatable.",
        default=(),
        type=click.types.FuncParamType(_mapping),
        metavar="OURS=THEIRS",
    )

    bot: tuple[str, ...] = setting(
        "Sender to leave out, by name in the export or by pseudonym; repeatable.",
        default=(),
        metavar="NAME",
    )

    def context(self, pseudonyms: Pseudonyms, know: Callable[..., None]) -> Context:
        """Return the context that a format reads with; see ``Context`` for the arguments."""
        columns = dict(pair.split("=", 1) for pair in self.column)
        zone, bots = ZoneInfo(self.timezone), frozenset(self.bot)
        return Context(pseudonyms, know, zone, self.date_order, self.phone_region, columns, bots)
