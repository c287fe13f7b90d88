"""Many at once: the law moves while grants are redeemed and attempts renewed. Bounded time, and never an old law."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from support.lab import REGIONS, Lab
from support.region_side import RegionSide, Run
from support.soundness import assert_sound

#: Far above what is needed on a busy machine, far below what a deadlock takes.
PATIENCE_S = 30.0
#: Jobs of a crowd that have not ended.
MOST_WAITING = 40


def _placed(lab: Lab, count: int) -> list[tuple[str, str]]:
    """Place jobs that only the French region may run, and return grant and region of each."""
    for _ in range(count):
        lab.submit(policy={"process": ["FR"], "forbid_exposure": ["US"]})
    assert lab.cycle().placed == count
    rows = lab.rows("select id, region from attempt_grant order by id")
    return [(grant, region) for grant, region in rows]


def _buy_or_sell(lab: Lab, is_sold: bool) -> int:
    """Have the region run by a US company, or by the French one again; returns the epoch that this made."""
    region = lab.one("select document from region where code = 'fr-bru-1'")
    lab.apply({**region, "operator": "mainkai-cloud" if is_sold else "auvergne-calcul"})
    return int(lab.one("select epoch from residency_epoch"))


def test_nothing_is_redeemed_under_a_law_that_has_moved(lab: Lab) -> None:
    """One thread changes the law, eight redeem: each grant was lawful at the epoch that it names."""
    grants = _placed(lab, 24)
    lawful_at = {int(lab.one("select epoch from residency_epoch")): True}
    newest = threading.Event()
    floor = [max(lawful_at)]

    def change() -> None:
        for place in range(6):
            is_sold = place % 2 == 0
            epoch = _buy_or_sell(lab, is_sold)
            lawful_at[epoch] = not is_sold
            floor[0] = epoch
            newest.set()

    def redeem(grant: str, code: str) -> tuple[str, int]:
        newest.wait(0.2)
        known = floor[0]
        return str(RegionSide(lab, code).redeem(grant)["outcome"]), known

    with ThreadPoolExecutor(9) as pool:
        changing = pool.submit(change)
        asked = [pool.submit(redeem, *one) for one in grants]
        outcomes = [one.result(PATIENCE_S) for one in asked]
        changing.result(PATIENCE_S)
    rows = lab.rows(
        "select grant_id, epoch from (select body ->> 'grant' as grant_id,"
        " (body ->> 'epoch')::int as epoch from audit_entry where act = 'grant_redeemed') e"
    )
    redeemed = dict(rows)
    for (grant, _), (outcome, known) in zip(grants, outcomes, strict=True):
        assert (outcome == "granted") == (grant in redeemed)
        if outcome == "granted":
            assert lawful_at[redeemed[grant]], "granted under a law that forbids it"
            assert redeemed[grant] >= known, "granted under a law that had already gone"
    assert_sound(lab)


def test_no_renewal_reaches_past_a_change_of_law(lab: Lab) -> None:
    """Regions sync while the law moves back and forth: whoever was told to stop is never renewed again."""
    grants = _placed(lab, 8)
    runs = [lab.region(code).take(grant) for grant, code in grants]
    stop = threading.Event()

    def sync(run: Run) -> None:
        region = RegionSide(lab, run.region)
        while not stop.is_set():
            region.sync(run.report("running"), live=[run])

    with ThreadPoolExecutor(6) as pool:
        syncing = [pool.submit(sync, run) for run in runs[:5]]
        for place in range(4):
            _buy_or_sell(lab, place % 2 == 0)
        stop.set()
        for one in syncing:
            one.result(PATIENCE_S)
    stopped = {row[0] for row in lab.rows("select id from attempt where stop_reason = 'fenced'")}
    down = RegionSide(lab, "fr-bru-1").sync(live=runs)
    assert {one["attempt_id"] for one in down["stop"]} >= stopped
    assert stopped >= {run.attempt for run in runs[:5]}, "each of them was judged while the region was sold"
    assert_sound(lab)


def test_a_change_of_law_gets_its_turn_among_regions_that_never_pause(lab: Lab) -> None:
    """Sharers of the epoch come without end; whoever wants it alone must not starve."""
    stop = threading.Event()

    def chatter(code: str) -> int:
        count = 0
        while not stop.is_set():
            RegionSide(lab, code).sync()
            count += 1
        return count

    with ThreadPoolExecutor(13) as pool:
        chatting = [pool.submit(chatter, code) for code in REGIONS * 3]
        time.sleep(0.2)
        waits = []
        for number in range(5):
            began = time.monotonic()
            lab.apply({"kind": "Entity", "name": f"newcomer-{number}", "seat": "PT"})
            waits.append(time.monotonic() - began)
        stop.set()
        assert all(one.result(PATIENCE_S) > 0 for one in chatting)
    assert max(waits) < 5.0, waits


def test_more_callers_than_connections_are_all_answered_when_the_law_moves(lab: Lab) -> None:
    """Nobody who holds a connection waits for a second one: facts are read in the transaction at hand."""
    grants = _placed(lab, 16)
    runs = [lab.region(code).take(grant) for grant, code in grants]
    began = time.monotonic()

    def say(run: Run) -> None:
        RegionSide(lab, run.region).sync(run.report("running"), live=[run])

    with ThreadPoolExecutor(48) as pool:
        for number in range(2):
            lab.apply({"kind": "Entity", "name": f"newcomer-{number}", "seat": "PT"})
            for one in [pool.submit(say, run) for run in runs * 2]:
                one.result(PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S
    assert_sound(lab)


class Crowd:
    """Everybody who moves jobs, each in a thread of its own, until told to stop.

    Owners and the operator let something end first: on a busy machine they would be faster than all.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.stop = threading.Event()
        self.ended = 0

    def submit(self) -> None:
        """Owners submit, but no more than are cleared away: a queue that only grows leaves no time for the rest."""
        if self.lab.one("select count(*) from job where finished_at is null") < MOST_WAITING:
            self.lab.submit(resources={"gpu": 2}, policy={"forbid_exposure": ["US"]})
        else:
            self.stop.wait(0.05)

    def cancel(self) -> None:
        """Owners change their minds."""
        if not self.ended:
            self.stop.wait(0.1)
            return
        for (job,) in self.lab.rows("select id from job where finished_at is null order by random() limit 2"):
            answer = self.lab.admin("POST", f"/v1/projects/default/jobs/{job}:cancel", {})
            assert answer.status_code in {200, 409}, answer.text
        self.stop.wait(0.1)

    def cycle(self) -> None:
        """The scheduler places."""
        self.lab.cycle()

    def change_law(self) -> None:
        """An operator changes facts, back and forth."""
        if not self.ended:
            self.stop.wait(0.1)
            return
        _buy_or_sell(self.lab, is_sold=True)
        self.stop.wait(0.1)
        _buy_or_sell(self.lab, is_sold=False)
        self.stop.wait(0.4)

    def live_in(self, code: str) -> None:
        """A region redeems and runs."""
        side = RegionSide(self.lab, code)
        found = "select id from attempt_grant where state = 'issued' and region = :code limit 5"
        for (grant,) in self.lab.rows(found, code=code):
            answer = side.redeem(grant, "ab" * 16)
            if answer["outcome"] == "granted":
                run = Run(code, grant, "ab" * 16, answer["order"], answer["grant"])
                side.sync(run.report("running"), live=[run])
                self.ended += len(side.sync(run.ended(), live=[run])["settled"])

    def run(self, seconds: float) -> None:
        """Let all of them work for some seconds; what one of them raises is raised here."""
        works: list[Callable[[], None]] = [
            self.submit,
            self.cancel,
            self.cycle,
            self.change_law,
            lambda: self.live_in("fr-bru-1"),
            lambda: self.live_in("se-bor-1"),
        ]
        with ThreadPoolExecutor(len(works)) as pool:
            busy = [pool.submit(self._repeat, work) for work in works]
            until = time.monotonic() + PATIENCE_S
            while not self.ended and time.monotonic() < until and not any(one.done() for one in busy):
                time.sleep(0.1)
            time.sleep(seconds)
            self.stop.set()
            for one in busy:
                one.result(PATIENCE_S)

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self.stop.is_set():
            work()


def test_everything_at_once_ends_and_leaves_the_store_sound(lab: Lab) -> None:
    """Submitters, the cycle, regions, owners who cancel, an operator who changes facts."""
    crowd = Crowd(lab)
    assert lab.epoch
    crowd.run(3.0)
    assert crowd.ended > 0
    assert_sound(lab)
