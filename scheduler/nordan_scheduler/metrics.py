"""Numbers of this process for Prometheus: counts and durations, never ids."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The scheduler's own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._waiting = Gauge("nordan_jobs_waiting", "Jobs that the last cycle looked at", registry=self._registry)
        self._placed = Counter("nordan_placements", "Decisions written", registry=self._registry)
        self._dropped = Counter(
            "nordan_placements_dropped", "Decisions whose rows had changed", registry=self._registry
        )
        self._stale = Gauge(
            "nordan_queue_stale", "Job rows that a full re-read caught; must be 0", registry=self._registry
        )
        self._cycle = Histogram("nordan_cycle_seconds", "Duration of a cycle", registry=self._registry)
        self._sealed = Counter("nordan_audit_entries_sealed", "Audit entries sealed", registry=self._registry)
        self._certified = Counter("nordan_certificates_issued", "Certificates signed", registry=self._registry)
        self._reaped = Counter("nordan_reaped", "What the reaper cleared away", ["what"], registry=self._registry)
        self._fenced = Counter(
            "nordan_fenced",
            "Attempts and places of artifacts fenced, places released",
            ["what"],
            registry=self._registry,
        )
        self._revisit = Histogram(
            "nordan_revisit_seconds", "Duration of a look at what is there", registry=self._registry
        )
        self._leads = Gauge("nordan_leader", "1 while this process leads", registry=self._registry)

    def note_cycle(self, waiting: int, placed: int, dropped: int, duration_s: float) -> None:
        """Count one cycle."""
        self._waiting.set(waiting)
        self._placed.inc(placed)
        self._dropped.inc(dropped)
        self._cycle.observe(duration_s)

    def note_stale(self, rows: int) -> None:
        """Show how many rows full re-reads have caught since the start."""
        self._stale.set(rows)

    def note_sealed(self, entries: int) -> None:
        """Count sealed entries."""
        self._sealed.inc(entries)

    def note_certificates(self, issued: int) -> None:
        """Count signed certificates."""
        self._certified.inc(issued)

    def note_reaped(self, what: str, count: int) -> None:
        """Count what the reaper cleared away, by kind."""
        self._reaped.labels(what).inc(count)

    def note_fenced(self, what: str, count: int) -> None:
        """Count what was fenced or released: attempts, places, released."""
        self._fenced.labels(what).inc(count)

    def note_revisit(self, duration_s: float) -> None:
        """Count one look at everything that is there."""
        self._revisit.observe(duration_s)

    def text(self, *, is_leading: bool) -> bytes:
        """Return all numbers in the text format."""
        self._leads.set(1 if is_leading else 0)
        return generate_latest(self._registry)
