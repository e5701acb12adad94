"""An actuator put together from its settings file. Nothing is read from a device yet, nothing touched."""

from collections.abc import Mapping
from pathlib import Path

from collectors import plugged, settings
from collectors.actuator import Actuator, Pace
from collectors.answers import Answers
from collectors.bounds import Bounds
from collectors.dryrun import DryRun
from collectors.hands import Hands
from collectors.journal import Journal
from collectors.keys import Keys, Nobody
from collectors.levers import Lever
from collectors.memory import Memory
from collectors.steady import SteadyClock, boot_id
from collectors.whose import Whose
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind
from pipeline.settings import ClockSection, load, placed


def actuator(config: Path, host: str = "", *, dry_run: bool = False) -> Actuator:
    """Return the actuator that *config* describes; `ConfigError`, with file and line, for whatever cannot work."""
    plugged.check(config)
    section = load(config, "actuator", settings.Actuator)
    clock = load(config, "clock", ClockSection).clock()
    levers = plugged.connected(config, "actuator", "lever", section.levers)
    with placed(config, "actuator", key="levers"):
        _refuse_rivals(levers)
    with placed(config, "actuator"):
        limits = bounds(section)
    hands = Hands([DryRun(lever) if dry_run else lever for lever in levers.values()])
    steady, journal = SteadyClock(clock), Journal(None if dry_run else Path(section.journal))
    keys = _keys(Path(section.keyring), is_needed=not (journal.record.touched or journal.record.previous_w))
    memory = Memory(journal, keys, steady, boot_id(), limits.min_release)
    return Actuator(
        host=settings.host_name(host, section.host),
        hands=hands,
        memory=memory,
        answers=Answers(hands, clock, section.settle_ms / 1000, section.simulated, memory.acknowledged_seq()),
        keys=keys,
        whose=Whose(plugged.connected(config, "actuator", "mapping", section.mappings), lambda: hands.places),
        bounds=limits,
        clock=clock,
        steady=steady,
        pace=Pace(section.reconcile_s, section.idle_s),
        silence=settings.seconds(section.silence_s) if section.silence_s else None,
    )


def _keys(path: Path, *, is_needed: bool) -> Keys | Nobody:
    """Return the keyring at *path*; where it makes no sense and something is to be put back first, nobody's."""
    try:
        return Keys(path)
    except ConfigError as mistake:
        if is_needed:
            raise
        return Nobody(mistake)


def bounds(section: settings.Actuator) -> Bounds:
    """Return what the host enforces whatever it is told; raise `ConfigError` for bounds that contradict each other."""
    if section.min_cap_w > section.max_cap_w:
        raise ConfigError(f"min_cap_w {section.min_cap_w:g} is above max_cap_w {section.max_cap_w:g}")
    return Bounds(
        min_cap_w=section.min_cap_w,
        max_cap_w=section.max_cap_w,
        max_step_w=section.max_step_w,
        max_rate_w_per_s=section.max_rate_w_per_s,
        max_lease=settings.seconds(section.max_lease_s),
        max_ahead=settings.seconds(section.max_ahead_s),
        max_skew=settings.seconds(section.max_skew_s),
        min_release=settings.seconds(section.min_release_s),
        release=settings.seconds(section.release_s),
        release_stages=section.release_stages,
    )


def _refuse_rivals(levers: Mapping[str, Lever]) -> None:
    """Raise `ConfigError` where two levers turn the same controls: each would find the other's doing changed."""
    names: dict[Kind, str] = {}
    for name, lever in levers.items():
        if (rival := names.setdefault(lever.kind, name)) != name:
            raise ConfigError(f"{rival} and {name} both turn {lever.kind}; name one of them")
