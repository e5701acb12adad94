"""
The journal and the core's state, each told in the other's words.

    journal   signed leases, seconds since the machine started     what is on disk
    state     leases verified, instants of the steady clock        what is decided on

A lease is verified again whenever it is read, and an economic one whose key is gone is over. After a restart of the
machine nothing times an economic lease any more, and no limit has outlived it. A safety lease latches over both.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta

from collectors.admit import Refusal, RefusalCode, decoded, opened
from collectors.journal import Journal, KeptLease, Original, Record, touched
from collectors.keys import Keys, Nobody
from collectors.lease import ALWAYS, HostState, Lease, resumed
from collectors.levers import Key
from collectors.steady import SteadyClock
from pipeline.messages.control import LeaseCommand, SignedCommand

log = logging.getLogger(__name__)


class Memory:
    """What outlives the process."""

    def __init__(
        self, journal: Journal, keys: Keys | Nobody, steady: SteadyClock, boot: str, min_release: timedelta
    ) -> None:
        """*boot* names the present run of the machine, empty where nobody knows it."""
        self._journal, self._keys, self._steady, self._boot = journal, keys, steady, boot
        self._min_release = min_release
        self._signed: dict[int, SignedCommand] = {}
        """By sequence, the leases that are not over, as they came."""

    def found(self) -> dict[Key, Original]:
        """Return what the controls were that an earlier run has touched."""
        return self._journal.record.found()

    def asked(self) -> dict[Key, tuple[float, ...]]:
        """Return the levels that may be in force by an earlier run's doing."""
        return self._journal.record.asked()

    def acknowledged_seq(self) -> int:
        """Return the newest command that was acknowledged as applied."""
        return self._journal.record.acknowledged_seq

    def state(self) -> HostState:
        """Return the state that an earlier run has left."""
        record = self._journal.record
        leases = [lease for kept in record.leases if (lease := self._lease(kept)) is not None]
        is_timed = record.deadline_up_s is not None and self._is_same_boot
        deadline = self._steady.at(record.deadline_up_s or 0.0) if is_timed else None
        return resumed(leases, record.levels(), deadline, record.highest_seq, self._steady.now())

    def keep(
        self,
        state: HostState,
        found: Mapping[Key, Original],
        asked: Mapping[Key, tuple[float, ...]],
        acknowledged_seq: int,
        newest: tuple[int, SignedCommand] | None = None,
    ) -> None:
        """
        Return once all that a next start must know is on disk; `EnvironmentProblem` if that fails.

        *newest* is a command that *state* has just taken on, as it came.
        """
        signed = self._signed if newest is None else {**self._signed, newest[0]: newest[1]}
        kept = {lease.command.seq: signed[lease.command.seq] for lease in state.leases}
        self._journal.write(
            Record(
                boot=self._boot,
                highest_seq=state.highest_seq,
                acknowledged_seq=acknowledged_seq,
                touched=touched(found, state.levels, asked),
                leases=tuple(
                    KeptLease(
                        signed=kept[lease.command.seq],
                        begins_up_s=self._steady.up_s(lease.begins_at),
                        ends_up_s=self._steady.up_s(lease.ends_at),
                    )
                    for lease in state.leases
                ),
                deadline_up_s=None if state.deadline is None else self._steady.up_s(state.deadline),
            )
        )
        self._signed = kept

    @property
    def _is_same_boot(self) -> bool:
        return bool(self._boot) and self._journal.record.boot == self._boot

    def _lease(self, kept: KeptLease) -> Lease | None:
        """Return a lease of an earlier run; None where it is not to be trusted or not timed."""
        verdict = opened(kept.signed, self._keys.ring())
        command = self._latched(kept, verdict) if isinstance(verdict, Refusal) else verdict
        if command is None or (command.kind == "economic" and not self._is_same_boot):
            return None
        self._signed[command.seq] = kept.signed
        if not self._is_same_boot:
            return Lease(command, self._steady.now(), command.expires_at, self._min_release)
        begins_at = ALWAYS if command.is_release else self._steady.at(kept.begins_up_s)
        return Lease(command, begins_at, self._steady.at(kept.ends_up_s), self._min_release)

    def _latched(self, kept: KeptLease, refusal: Refusal) -> LeaseCommand | None:
        """Return a safety lease whose key has been taken away since it was obeyed: that loosens no safety cap."""
        if refusal.code is RefusalCode.UNKNOWN_KEY:
            command = decoded(kept.signed)
            if isinstance(command, LeaseCommand) and command.kind == "safety":
                log.warning(
                    "a safety cap stays, though its key is gone: %s; release it by a safety command", refusal.reason
                )
                return command
        log.error("a lease in the journal is not obeyed any more: %s", refusal.reason)
        return None
